// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/install"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/source"
)

// startedUnits is a systemd that remembers what was started.
type startedUnits struct {
	noUnits
	names []string
}

func (s *startedUnits) StartUnitContext(_ context.Context, name, _ string, _ chan<- string) (int, error) {
	s.names = append(s.names, name)
	return 0, nil
}

// liveMachine is a live system with these disks, which notes what is installed where.
func liveMachine(t *testing.T, disks []install.Disk, local ...source.Source) (m *machine, units *startedUnits, installed *string) {
	t.Helper()
	m = newMachine(t, nil, local...)
	units, installed = &startedUnits{}, new(string)
	m.Units = units
	m.Live = &Live{
		Disks: func(context.Context) ([]install.Disk, error) { return disks, nil },
		Install: func(_ context.Context, disk install.Disk, wipe bool, document *source.Document, _ *configschema.Storage) error {
			*installed = disk.Path
			if wipe {
				*installed += " wiped"
			}
			if !strings.Contains(string(document.UserData), "install") {
				t.Errorf("installed with %q", document.UserData)
			}
			return nil
		},
		PowerOff: func(context.Context) error { return errors.New("not asked for") },
	}
	return m, units, installed
}

// runLive runs the phases of a live system, up to a reboot, and returns what went wrong.
func runLive(t *testing.T, m *machine) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	m.sequence = phase.NewSequence(m.Log, func(string) {}, m.phases()...)
	go func() { ended <- m.sequence.Run(ctx) }()
	select {
	case <-m.rebooted:
		m.rebooted <- struct{}{}
		cancel()
		<-ended
		return nil
	case err := <-ended:
		return err
	}
}

var (
	emptyDisk = install.Disk{Path: "/dev/vda", Name: "vda", Bytes: 10 << 30}
	fullDisk  = install.Disk{Path: "/dev/vdb", Name: "vdb", Bytes: 10 << 30, Contents: "ext4"}
)

// TestLiveInstallsByItself: only what the installer needs is applied, no unit is started, and the machine reboots.
func TestLiveInstallsByItself(t *testing.T) {
	const userData = "#cloud-config\nhostname: a\nbootcmd: [exit 1]\ndisk_setup: {/dev/vdz: {layout: true}}\nskerry: {install: {device: /dev/vdb, wipe: true}, kernel: {args: [quiet]}}\n"
	m, units, installed := liveMachine(t, []install.Disk{emptyDisk, fullDisk}, medium{userData})
	if err := runLive(t, m); err != nil {
		t.Fatal(err)
	}
	if *installed != "/dev/vdb wiped" || m.system.hostname != "a" || len(units.names) > 0 {
		t.Errorf("installed %q, hostname %q, started %v", *installed, m.system.hostname, units.names)
	}
	select {
	case <-m.rebooted:
	default:
		t.Error("the machine doesn't reboot")
	}
}

// TestLiveAsks: without orders, and where they can't be followed, a person is asked.
func TestLiveAsks(t *testing.T) {
	for _, test := range []struct {
		name  string
		local []source.Source
		disks []install.Disk
		says  string
		fails bool
	}{
		{name: "no cloud-config", disks: []install.Disk{emptyDisk}, says: "live system: run `skerry install`"},
		{name: "no orders", local: []source.Source{medium{"#cloud-config\nhostname: a\n"}}, disks: []install.Disk{emptyDisk}, says: "live system: run `skerry install`"},
		{name: "no disk", local: []source.Source{medium{"#cloud-config\nskerry: {install: {}}\n"}}, disks: []install.Disk{fullDisk}, fails: true, says: "skerry.install.wipe"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, units, installed := liveMachine(t, test.disks, test.local...)
			err := runLive(t, m)
			said := m.console.String()
			if err != nil {
				said += err.Error()
			}
			if (err != nil) != test.fails || !strings.Contains(said, test.says) {
				t.Errorf("got %v:\n%s", err, said)
			}
			if *installed != "" || strings.Join(units.names, " ") != strings.Join(installerUnits, " ") {
				t.Errorf("installed %q, started %v", *installed, units.names)
			}
		})
	}
}

// TestLiveStays: what comes afterwards is as the cloud-config says.
func TestLiveStays(t *testing.T) {
	m, _, installed := liveMachine(t, []install.Disk{emptyDisk}, medium{"#cloud-config\nskerry: {install: {reboot: false}}\n"})
	if err := runLive(t, m); err != nil || *installed != "/dev/vda" || len(m.rebooted) > 0 {
		t.Errorf("installed %q, rebooted %d times, %v", *installed, len(m.rebooted), err)
	}
	m, _, _ = liveMachine(t, []install.Disk{emptyDisk}, medium{"#cloud-config\nskerry: {install: {reboot: poweroff}}\n"})
	if err := runLive(t, m); err == nil || !strings.Contains(err.Error(), "switch off") {
		t.Errorf("got %v", err)
	}
}
