// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/include"
	"github.com/skerry-os/skerry/daemon/network"
	"github.com/skerry-os/skerry/daemon/notify"
	"github.com/skerry-os/skerry/daemon/source"
)

// cloud is a source of the network that is silent for some requests.
type cloud struct {
	silent     int
	missing    bool // it answers that there is nothing
	userData   string
	instanceID string
	asked      int
	reported   atomic.Bool
}

func (*cloud) Name() string { return "cloud" }

func (c *cloud) Fetch(context.Context) (*source.Document, error) {
	if c.asked++; c.asked <= c.silent {
		return nil, fmt.Errorf("ask cloud: %w within 2m0s: connection refused", source.ErrNoAnswer)
	}
	if c.missing {
		return nil, fmt.Errorf("ask cloud: %w: it says 404 Not Found: put the file there, and boot again", source.ErrMissing)
	}
	d := &source.Document{Source: "cloud", Name: "the cloud", InstanceID: c.instanceID}
	if c.userData != "" {
		d.UserData = []byte(c.userData)
	}
	return d, nil
}

func (c *cloud) ReportReady(context.Context) error {
	c.reported.Store(true)
	return nil
}

// system is a kernel that remembers its name. What else a kernel can do is not
// to be asked for.
type system struct {
	apply.System
	hostname string
}

func (s *system) SetHostname(name string) error            { s.hostname = name; return nil }
func (*system) CheckSudoers(context.Context, string) error { return nil }
func (*system) Chown(*os.File, int, int) error             { return nil }

type machine struct {
	*Boot
	system   *system
	cloud    *cloud
	kept     *source.State
	console  *syncBuffer
	rebooted chan struct{}
}

func newMachine(t *testing.T, c *cloud, local ...source.Source) *machine {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", "")
	notifier, err := notify.Take()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{system: &system{}, cloud: c, kept: &source.State{Dir: t.TempDir()}, console: &syncBuffer{}, rebooted: make(chan struct{}, 1)}
	log := slog.New(slog.NewTextHandler(m.console, nil))
	root := t.TempDir()
	for _, dir := range []string{"etc/ssh", "home", "state", "proc/sys/vm", "usr/share/zoneinfo/Etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"usr/share/zoneinfo/Etc/UTC": "UTC", "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
		"proc/meminfo": "MemTotal: 16384 kB\n", "proc/sys/vm/min_free_kbytes": "45056\n", "proc/sys/vm/max_map_count": "65530\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set := &source.Set{Local: local, Kept: m.kept}
	if c != nil {
		set.Network, set.Reporter = c, c
	}
	m.Boot = &Boot{
		Notifier: notifier,
		Sources:  func() (*source.Set, error) { return set, nil },
		Around:   config.Surroundings{MachineID: filepath.Join(root, "etc/machine-id")},
		Machine:  &apply.Machine{Root: root, System: m.system, Networkd: networkd{}, Log: log},
		StateDir: m.kept.Dir, Log: log,
		Reboot:       func(context.Context) error { m.rebooted <- struct{}{}; return nil },
		addressLimit: time.Nanosecond, fetchPause: time.Nanosecond,
	}
	return m
}

const ofCloud = "#cloud-config\nhostname: from-cloud\nskerry: {cluster: {node-ip: 192.0.2.1}}\n"

// TestConfigOfTheNetwork: the early phase applies nothing and goes on, and the
// next one asks until it is answered, applies, keeps, and tells the cloud.
func TestConfigOfTheNetwork(t *testing.T) {
	m := newMachine(t, &cloud{silent: 2, userData: ofCloud, instanceID: "i-1"})
	if err := m.early(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.system.hostname != "" || m.loaded != nil || m.cloud.asked > 0 {
		t.Errorf("before the network: hostname %q, asked %d times", m.system.hostname, m.cloud.asked)
	}
	if err := m.network(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.system.hostname != "from-cloud" || m.cloud.asked != 3 || m.address.String() != "192.0.2.1" {
		t.Errorf("hostname %q, asked %d times, address %v", m.system.hostname, m.cloud.asked, m.address)
	}
	if got := strings.Count(m.console.String(), "connection refused; asking again"); got != 2 {
		t.Errorf("the console says %d times that the cloud is silent:\n%s", got, m.console)
	}
	if kept, err := m.kept.Fetch(t.Context()); err != nil || string(kept.UserData) != ofCloud {
		t.Errorf("kept %+v, %v", kept, err)
	}
	for deadline := time.Now().Add(10 * time.Second); !m.cloud.reported.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the cloud was not told that the machine is up")
		}
	}
}

// TestCloudIsSilent: what was kept boots the machine, without a doubt about its
// identity: nobody has said who it is.
func TestCloudIsSilent(t *testing.T) {
	m := newMachine(t, &cloud{silent: 1000})
	d := &source.Document{UserData: []byte(strings.ReplaceAll(ofCloud, "from-cloud", "kept")), MetaData: []byte("instance-id: i-old\n")}
	if err := m.kept.Keep(d); err != nil {
		t.Fatal(err)
	}
	record(t, m, "i-1")
	if err := errors.Join(m.early(t.Context()), m.network(t.Context())); err != nil {
		t.Fatal(err)
	}
	if m.system.hostname != "kept" || m.cloud.asked != 1 {
		t.Errorf("hostname %q, asked %d times", m.system.hostname, m.cloud.asked)
	}
}

// TestNothingThere: a file that is not there ends the boot, with what to do,
// unless there is a copy. Nothing is kept, so that the next boot asks again.
func TestNothingThere(t *testing.T) {
	m := newMachine(t, &cloud{silent: 2, missing: true})
	if err := m.early(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := m.network(t.Context())
	if !errors.Is(err, source.ErrMissing) || !strings.Contains(err.Error(), "put the file there, and boot again") || m.cloud.asked != 3 {
		t.Errorf("asked %d times: %v", m.cloud.asked, err)
	}
	if m.loaded != nil || m.system.hostname != "" {
		t.Errorf("loaded %+v, hostname %q", m.loaded, m.system.hostname)
	}
	if _, err := m.kept.Fetch(t.Context()); !errors.Is(err, source.ErrAbsent) {
		t.Errorf("kept: %v", err)
	}
	// The next boot finds it.
	m.cloud.missing, m.cloud.userData, m.cloud.instanceID = false, ofCloud, "i-1"
	if err := errors.Join(m.early(t.Context()), m.network(t.Context())); err != nil {
		t.Fatal(err)
	}
	if m.system.hostname != "from-cloud" {
		t.Errorf("hostname %q", m.system.hostname)
	}
	// And one without it has the copy.
	m.cloud.missing, m.cloud.asked, m.loaded = true, 0, nil
	if err := errors.Join(m.early(t.Context()), m.network(t.Context())); err != nil {
		t.Fatal(err)
	}
	if m.cloud.asked != 1 || !strings.Contains(m.console.String(), "going on with the copy of the last one") {
		t.Errorf("asked %d times:\n%s", m.cloud.asked, m.console)
	}
}

// TestInvalidConfigOfTheNetwork: the copy of the last one doesn't hide it.
func TestInvalidConfigOfTheNetwork(t *testing.T) {
	m := newMachine(t, &cloud{userData: "#cloud-config\nhostnme: a\n", instanceID: "i-2"})
	if err := m.kept.Keep(&source.Document{UserData: []byte(ofCloud)}); err != nil {
		t.Fatal(err)
	}
	record(t, m, "i-1")
	if err := m.early(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.network(t.Context()); err == nil || !strings.Contains(err.Error(), "1 problem") {
		t.Errorf("got %v", err)
	}
	if len(m.problems) != 1 || m.system.hostname != "" || m.address != nil {
		t.Errorf("problems %v, hostname %q, address %v", m.problems, m.system.hostname, m.address)
	}
	// What is not valid doesn't take the machine's identity either.
	if data, err := os.ReadFile(filepath.Join(m.StateDir, "instance-id")); err != nil || string(data) != "i-1\n" {
		t.Errorf("recorded %q, %v", data, err)
	}
}

// TestCopiedDisk: a disk that comes up as another instance gets rid of its
// identity, says so, reboots, and applies nothing before.
func TestCopiedDisk(t *testing.T) {
	for name, c := range map[string]*cloud{
		"with user-data":               {userData: ofCloud, instanceID: "i-2"},
		"with its configuration in it": {instanceID: "i-2"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, c)
			if err := m.kept.Keep(&source.Document{UserData: []byte(ofCloud), MetaData: []byte("instance-id: i-1\n")}); err != nil {
				t.Fatal(err)
			}
			record(t, m, "i-1")
			password := filepath.Join(m.StateDir, "rancher", "node", "password")
			if err := os.MkdirAll(filepath.Dir(password), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(password, []byte("p\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := m.early(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- m.network(ctx) }()
			select {
			case <-m.rebooted:
			case err := <-ended:
				t.Fatalf("no reboot: %v\n%s", err, m.console)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the boot went on: %v", err)
			}
			if _, err := os.Stat(password); err == nil {
				t.Error("the node password is still that of the other machine")
			}
			if m.system.hostname != "" || !strings.Contains(m.console.String(), "is a copy") {
				t.Errorf("hostname %q, console:\n%s", m.system.hostname, m.console)
			}
			// The boot after that.
			m.loaded = nil
			if err := errors.Join(m.early(t.Context()), m.network(t.Context())); err != nil {
				t.Fatal(err)
			}
			if m.system.hostname != "from-cloud" {
				t.Errorf("hostname %q", m.system.hostname)
			}
		})
	}
}

func record(t *testing.T, m *machine, instanceID string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.StateDir, "instance-id"), []byte(instanceID+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// web has one page, for whoever asks often enough.
type web struct{ silent, asked int }

func (w *web) Fetch(context.Context, string, string) ([]byte, error) {
	if w.asked++; w.asked <= w.silent {
		return nil, fmt.Errorf("%w within 2m0s", source.ErrNoAnswer)
	}
	return []byte("#cloud-config\nhostname: included\n"), nil
}

// networkd is not running yet.
type networkd struct{ network.Networkd }

func (networkd) Active(context.Context) (bool, error) { return false, nil }

// TestIncludesWaitForTheNetwork: the early phase brings up the network of the
// medium, applies nothing else, and waits for no server. The next one asks until
// it is answered, and applies the whole.
func TestIncludesWaitForTheNetwork(t *testing.T) {
	m := newMachine(t, nil, medium{`#cloud-config-archive
- |
  #cloud-config
  skerry: {cluster: {node-ip: 192.0.2.1}, network: {ethernets: {own: {dhcp4: true}}}}
- |
  #include
  https://h/x
`})
	w := &web{silent: 2}
	copies := &include.Kept{Fetcher: w, Dir: t.TempDir(), Log: m.Log}
	m.Around.Fetcher, m.Around.AtHand = copies, copies.AtHand()
	defined := filepath.Join(m.Machine.Root, network.Dir, network.Prefix+"own.network")
	for range 2 { // the daemon is started again
		if err := m.early(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(defined); err != nil {
			t.Errorf("the network is not defined: %v", err)
		}
	}
	if m.system.hostname != "" || m.loaded != nil || w.asked > 0 {
		t.Errorf("before the network: hostname %q, asked %d times", m.system.hostname, w.asked)
	}
	if !strings.Contains(m.console.String(), "includes https://h/x") {
		t.Errorf("the console does not say what is waited for:\n%s", m.console)
	}
	if err := m.network(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.system.hostname != "included" || w.asked != 3 {
		t.Errorf("hostname %q, asked %d times", m.system.hostname, w.asked)
	}
	if _, err := os.Stat(defined); err != nil {
		t.Errorf("the network is not defined any more: %v", err)
	}
}
