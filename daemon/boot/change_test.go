// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/network"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/unit"
)

// systemd remembers what it was asked to start.
type systemd struct {
	noUnits
	mu    sync.Mutex
	asked []string
	slow  time.Duration // to restart
}

func (s *systemd) StartUnitContext(_ context.Context, name, _ string, _ chan<- string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "start "+name)
	return 0, nil
}

func (s *systemd) RestartUnitContext(_ context.Context, name, _ string, _ chan<- string) (int, error) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "restart "+name)
	return 0, nil
}

// take returns what was asked since the last time.
func (s *systemd) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// up is a machine whose boot has come to its last phase.
type up struct {
	*machine
	systemd *systemd
	medium  *medium
	applied *source.Applied
}

const ofMedium = `#cloud-config
hostname: a
write_files: [{path: /etc/motd, content: medium}]
skerry:
  sysctls: {vm.max_map_count: 1}
  cluster: {node-ip: 192.0.2.1, node-label: [disk=hdd]}
`

// changeable is a medium that is written anew while the machine runs.
type changeable struct{ *medium }

func boot(t *testing.T, userData string) *up {
	t.Helper()
	of := &medium{userData}
	m := newMachine(t, nil, changeable{of})
	u := &up{machine: m, medium: of, systemd: &systemd{noUnits: noUnits{t}}, applied: &source.Applied{Dir: filepath.Join(t.TempDir(), "applied")}}
	set, err := m.Sources()
	if err != nil {
		t.Fatal(err)
	}
	set.Applied = u.applied
	m.Units, m.running = u.systemd, t.Context()
	m.clusterFile = filepath.Join(t.TempDir(), "cluster.yaml")
	m.ConfigFile = filepath.Join(t.TempDir(), "layers.json")
	u.phases(t)
	t.Cleanup(func() {
		u.mu.Lock()
		late := u.late
		u.mu.Unlock()
		if late != nil {
			<-late
		}
	})
	return u
}

// phases runs what a daemon runs, but for what reaches out of the test.
func (u *up) phases(t *testing.T) {
	t.Helper()
	u.started = nil
	u.sequence = phase.NewSequence(u.Log, u.tell,
		phase.Phase{Name: "early", Run: u.early},
		phase.Phase{Name: "network", Run: u.network},
		phase.Phase{Name: "role", Run: func(ctx context.Context) error {
			section := u.loaded.Config.Skerry.Cluster
			section.NodeName = "a"
			u.role = u.loaded.Config.Skerry.EffectiveRole()
			return errors.Join(u.writeCluster(section), u.start(ctx, unit.Containerd))
		}},
		phase.Phase{Name: clusterPhase, Run: func(ctx context.Context) error {
			return errors.Join(u.start(ctx, unit.Control), u.start(ctx, unit.Node), u.forgetRestarts())
		}})
	if err := u.sequence.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// is checks what a machine with one of the configurations has.
func (u *up) is(t *testing.T, motd, maps, label string) {
	t.Helper()
	for name, want := range map[string]string{filepath.Join(u.Machine.Root, "etc/motd"): motd,
		filepath.Join(u.Machine.Root, "proc/sys/vm/max_map_count"): maps, u.clusterFile: label, u.ConfigFile: ""} {
		if data, err := os.ReadFile(name); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %q, %v; want %q", name, data, err, want)
		}
	}
}

func (u *up) asked(t *testing.T, want ...string) {
	t.Helper()
	if got := u.systemd.take(); !slices.Equal(got, want) {
		t.Errorf("systemd was asked to %q, want %q", got, want)
	}
}

func file(text string) change.Request {
	return change.Request{Name: "server.yaml", UserData: []byte(text)}
}

// changed is the configuration of the medium with another file, setting and
// label.
var changed = strings.NewReplacer("medium", "applied", "max_map_count: 1", "max_map_count: 2", "hdd", "ssd").Replace(ofMedium)

const restartNode = "restart " + unit.Node

func TestApply(t *testing.T) {
	u := boot(t, ofMedium)
	u.asked(t, "start "+unit.Containerd, "start "+unit.Control, "start "+unit.Node)

	dry := file(changed)
	dry.DryRun = true
	result, err := u.Apply(t.Context(), dry)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range result.Changes {
		rows = append(rows, fmt.Sprintf("%s %v->%v %s %v", row.Path, row.Before, row.After, row.Effect, row.Units))
	}
	want := []string{
		"write_files[0].content medium->applied now []",
		"skerry.cluster.node-label[0] disk=hdd->disk=ssd restart [skerry-node.service]",
		`skerry.sysctls["vm.max_map_count"] 1->2 now []`,
	}
	if !slices.Equal(rows, want) || !result.DryRun || result.Reboot || !slices.Equal(result.Restarted, []string{unit.Node}) {
		t.Errorf("got %q, %+v", rows, result)
	}
	u.is(t, "medium", "1", "hdd")
	u.asked(t)

	_, err = u.Apply(t.Context(), file(changed+"nonsense: 1\n"))
	var failure *change.Failure
	if !errors.As(err, &failure) || len(failure.Problems) != 1 || failure.Busy || failure.Problems[0].File != "server.yaml" {
		t.Errorf("a file with a mistake: %+v", err)
	}
	u.is(t, "medium", "1", "hdd")

	if result, err = u.Apply(t.Context(), file(changed)); err != nil || result.DryRun || len(result.Changes) != 3 {
		t.Fatalf("got %+v, %v", result, err)
	}
	u.is(t, "applied", "2", "ssd")
	u.asked(t, restartNode)
	u.phases(t) // at the next boot
	u.is(t, "applied", "2", "ssd")
	u.asked(t, "start "+unit.Containerd, "start "+unit.Control, "start "+unit.Node)

	// The medium is the later word again, once it has another one.
	u.medium.userData = strings.ReplaceAll(ofMedium, "medium", "later")
	if _, err = u.Apply(t.Context(), change.Request{}); err != nil {
		t.Fatal(err)
	}
	u.is(t, "later", "1", "hdd")
	u.asked(t, restartNode)
	if result, err = u.Apply(t.Context(), change.Request{}); err != nil || len(result.Changes)+len(result.Restarted) > 0 {
		t.Errorf("nothing has changed: %+v, %v", result, err)
	}
	u.asked(t)
}

// TestApplyThatFails: what can't be made true is taken back, and isn't what the
// machine boots with.
func TestApplyThatFails(t *testing.T) {
	u := boot(t, ofMedium)
	u.systemd.take()
	_, err := u.Apply(t.Context(), file(strings.ReplaceAll(changed, "vm.max_map_count: 2", "vm.max_map_count: 2, vm.none: 1")))
	if err == nil || !strings.Contains(err.Error(), "vm.none") || !strings.Contains(err.Error(), "taken back") {
		t.Errorf("got %v", err)
	}
	u.is(t, "medium", "1", "hdd")
	u.asked(t)
	u.phases(t)
	u.is(t, "medium", "1", "hdd")
}

func TestTrial(t *testing.T) {
	trial := file(changed)
	trial.Try = time.Minute
	start := func(t *testing.T) *up {
		u := boot(t, ofMedium)
		u.systemd.take()
		result, err := u.Apply(t.Context(), trial)
		if err != nil || !result.Until.Equal(time.Now().Add(time.Minute)) {
			t.Fatalf("got %+v, %v", result, err)
		}
		u.is(t, "applied", "2", "ssd")
		u.asked(t, restartNode)
		if u.Status(t.Context()).Trial.IsZero() {
			t.Error("the status doesn't tell of the trial")
		}
		return u
	}
	t.Run("not confirmed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			u := start(t)
			time.Sleep(59 * time.Second)
			u.is(t, "applied", "2", "ssd")
			var failure *change.Failure
			if _, err := u.Apply(t.Context(), file(changed)); !errors.As(err, &failure) || !failure.Busy || !strings.Contains(err.Error(), "--confirm") {
				t.Errorf("another one meanwhile: %v", err)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			u.is(t, "medium", "1", "hdd")
			u.asked(t, restartNode)
			if err := u.Confirm(t.Context()); err == nil || !strings.Contains(err.Error(), "taken back") {
				t.Errorf("confirmed too late: %v", err)
			}
			if !u.Status(t.Context()).Trial.IsZero() {
				t.Error("the status still tells of a trial")
			}
			if _, err := u.Apply(t.Context(), file(changed)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			synctest.Wait()
		})
	})
	t.Run("confirmed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			u := start(t)
			if err := u.Confirm(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			u.is(t, "applied", "2", "ssd")
			u.asked(t)
			u.phases(t)
			u.is(t, "applied", "2", "ssd")
			u.asked(t, "start "+unit.Containerd, "start "+unit.Control, "start "+unit.Node)
		})
	})
	t.Run("cut short", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			u := start(t)
			// The daemon is started again. Its units run with what was on trial.
			u.change, u.trial = idle, nil
			u.phases(t)
			u.is(t, "medium", "1", "hdd")
			u.asked(t, "start "+unit.Containerd, "restart "+unit.Control, "restart "+unit.Node)
			u.phases(t)
			u.asked(t, "start "+unit.Containerd, "start "+unit.Control, "start "+unit.Node)
			time.Sleep(2 * time.Minute) // nothing is left to take back
			synctest.Wait()
			u.asked(t)
		})
	})
	t.Run("over before it begins", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			u := boot(t, ofMedium)
			u.systemd.take()
			u.systemd.slow = 2 * time.Minute
			if _, err := u.Apply(t.Context(), trial); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			u.is(t, "medium", "1", "hdd")
			u.asked(t, restartNode, restartNode)
			if err := u.beginChange(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("too slow", func(t *testing.T) {
		u := boot(t, ofMedium)
		u.systemd.take()
		slow := trial
		slow.Try = time.Nanosecond
		u.Machine.Networkd = deadNetworkd{}
		slow.UserData = []byte(changed + "  network: {ethernets: {eth0: {dhcp4: true}}}\n")
		if _, err := u.Apply(t.Context(), slow); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		u.is(t, "medium", "1", "hdd")
		u.asked(t)
	})
}

// deadNetworkd answers when it is too late.
type deadNetworkd struct{ network.Networkd }

func (deadNetworkd) Active(ctx context.Context) (bool, error) {
	if _, ends := ctx.Deadline(); !ends {
		return false, nil
	}
	<-ctx.Done()
	return false, ctx.Err()
}

// TestNotNow: the boot's own phases and another change come first.
func TestNotNow(t *testing.T) {
	u := boot(t, ofMedium)
	u.change = applying
	var failure *change.Failure
	if _, err := u.Apply(t.Context(), file(changed)); !errors.As(err, &failure) || !failure.Busy || !strings.Contains(err.Error(), "another") {
		t.Errorf("two at once: %v", err)
	}
	u.change = idle
	if err := u.Confirm(t.Context()); err == nil {
		t.Error("nothing was confirmed")
	}
	for name, test := range map[string]struct {
		run  func(context.Context) error
		busy bool
		says string
	}{
		"early": {func(context.Context) error { return nil }, true, "phase role"},
		"role":  {func(context.Context) error { return errors.New("no clock") }, false, "phase role: no clock"},
	} {
		if name == "early" {
			u.sequence = phase.NewSequence(u.Log, u.tell, phase.Phase{Name: "role"}, phase.Phase{Name: clusterPhase})
		} else {
			u.sequence = phase.NewSequence(u.Log, u.tell, phase.Phase{Name: "role", Run: test.run}, phase.Phase{Name: clusterPhase})
			if err := u.sequence.Run(t.Context()); err == nil {
				t.Fatal("the phase did not fail")
			}
		}
		if _, err := u.Apply(t.Context(), file(changed)); !errors.As(err, &failure) || failure.Busy != test.busy || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	u.is(t, "medium", "1", "hdd")
}

// TestAnotherInstance: the configuration of another machine waits for a boot, at
// which that gets an identity of its own.
func TestAnotherInstance(t *testing.T) {
	u := boot(t, ofMedium)
	record(t, u.machine, "i-0")
	if _, err := u.Apply(t.Context(), change.Request{}); err == nil || !strings.Contains(err.Error(), "reboot") {
		t.Errorf("got %v", err)
	}
}

// TestWhatWaitsForReboot stays in the list, and out of what units read, until the
// machine is booted, or it is as it was.
func TestWhatWaitsForReboot(t *testing.T) {
	u := boot(t, ofMedium)
	u.systemd.take()
	next := strings.ReplaceAll(changed, "hostname: a", "hostname: b")
	result, err := u.Apply(t.Context(), file(next))
	if err != nil || !result.Reboot {
		t.Fatalf("got %+v, %v", result, err)
	}
	if u.system.hostname != "a" || u.section.NodeName != "a" {
		t.Errorf("hostname %q, node %q", u.system.hostname, u.section.NodeName)
	}
	if result, err = u.Apply(t.Context(), file(next)); err != nil || !result.Reboot || len(result.Changes) != 1 || result.Changes[0].Path != "hostname" {
		t.Errorf("the second time: %+v, %v", result, err)
	}
	result, err = u.Apply(t.Context(), file(changed))
	if err != nil || result.Reboot || len(result.Changes) != 1 || result.Changes[0].Effect != apply.Now {
		t.Errorf("with the name that it has: %+v, %v", result, err)
	}
	// Another role takes the whole section with it.
	u.systemd.take()
	agent := strings.ReplaceAll(changed, "node-label: [disk=ssd]", "server: 'https://b:6443', token: t, node-label: [disk=nvme]")
	if result, err = u.Apply(t.Context(), file(agent)); err != nil || !result.Reboot || len(result.Restarted) > 0 {
		t.Errorf("another role: %+v, %v", result, err)
	}
	u.is(t, "applied", "2", "ssd")
	u.asked(t)
}

// TestHeldBack: what of the cluster section needs a reboot is what units don't
// get before it.
func TestHeldBack(t *testing.T) {
	u := boot(t, ofMedium)
	full, none := reflect.ValueOf(&u.section).Elem(), *u.loaded
	none.Config = &configschema.Config{}
	for i := range full.NumField() {
		key := full.Type().Field(i).Tag.Get("yaml")
		u.section = configschema.Cluster{}
		field := full.Field(i)
		switch field.Kind() {
		case reflect.Bool:
			field.SetBool(true)
		case reflect.String:
			field.SetString("x")
		default:
			continue
		}
		want := field.Interface()
		live := u.liveSection(&none, u.address)
		held := reflect.ValueOf(live).Field(i).Interface() == want
		outcome := apply.OutcomeOf(configschema.Change{Path: "skerry.cluster." + key, Before: "x", After: "y"})
		if held != (outcome.When == apply.Reboot) {
			t.Errorf("%s: its effect is %s, and it is held back: %t", key, outcome.When, held)
		}
	}
}

// TestEnvironmentRestarts: what is derived from other keys restarts units, too.
func TestEnvironmentRestarts(t *testing.T) {
	proxied := strings.ReplaceAll(ofMedium, "skerry:\n", "skerry:\n  environment: {HTTPS_PROXY: 'http://p:1'}\n")
	u := boot(t, proxied)
	u.systemd.take()
	result, err := u.Apply(t.Context(), file(strings.ReplaceAll(proxied, "node-ip: 192.0.2.1", "node-ip: 192.0.2.1, cluster-domain: x.example")))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{unit.Containerd, unit.Control, unit.Node}
	if !slices.Equal(result.Restarted, want) {
		t.Errorf("restarted %q, want %q", result.Restarted, want)
	}
}

// TestNodeMoves: another address restarts what goes by it.
func TestNodeMoves(t *testing.T) {
	u := boot(t, ofMedium)
	u.systemd.take()
	result, err := u.Apply(t.Context(), file(strings.ReplaceAll(ofMedium, "192.0.2.1", "192.0.2.2")))
	if err != nil || len(result.Warnings) > 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	u.is(t, "medium", "1", "192.0.2.2")
	u.asked(t, "restart "+unit.Control, restartNode)
}
