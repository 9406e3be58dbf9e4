// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/efiaddon"
)

const addon = "efi/loader/addons/skerry.addon.efi"

// withBootLoader gives a machine an EFI system partition, and a command line.
func withBootLoader(t *testing.T, m *machine) {
	t.Helper()
	stub, err := os.ReadFile("../efiaddon/testdata/addon.stub")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{efiaddon.Stub: stub, "efi/EFI/Linux/skerry.efi": nil, "proc/cmdline": []byte("ro\n")} {
		path := filepath.Join(m.Machine.Root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// addonOf is what the machine's addon says, nothing when there is none.
func addonOf(t *testing.T, m *machine) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.Machine.Root, addon))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	args, err := efiaddon.CommandLine(data)
	if err != nil {
		t.Fatal(err)
	}
	return args
}

// TestKernelArgsReboot: a machine whose kernel lacks its arguments writes them
// and reboots before it applies anything.
func TestKernelArgsReboot(t *testing.T) {
	m := newMachine(t, nil, changeable{&medium{"#cloud-config\nhostname: a\nskerry: {kernel: {args: quiet}}\n"}})
	withBootLoader(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.early(ctx) }()
	select {
	case <-m.rebooted:
	case err := <-ended:
		t.Fatalf("no reboot: %v\n%s", err, m.console)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the boot went on: %v", err)
	}
	if m.system.hostname != "" || addonOf(t, m) != "quiet" || !strings.Contains(m.console.String(), "rebooting once") {
		t.Errorf("hostname %q, addon %q, console:\n%s", m.system.hostname, addonOf(t, m), m.console)
	}
}

// TestKernelArgsApplied: a change on a machine that is up waits for a reboot, and
// is nowhere on disk while it is on trial.
func TestKernelArgsApplied(t *testing.T) {
	u := boot(t, ofMedium)
	withBootLoader(t, u.machine)
	waits := func(want ...string) {
		t.Helper()
		if got := u.Status(t.Context()).Reboot; !slices.Equal(got, want) {
			t.Errorf("waits for a reboot: %q, want %q", got, want)
		}
	}
	waits()
	with := ofMedium + "  kernel: {args: [quiet]}\n"
	trial := file(with)
	trial.Try = time.Hour
	result, err := u.Apply(t.Context(), trial)
	if err != nil || !result.Reboot || addonOf(t, u.machine) != "" {
		t.Fatalf("on trial: %+v, addon %q, %v", result, addonOf(t, u.machine), err)
	}
	waits("skerry.kernel.args[0]")
	if err := u.Confirm(t.Context()); err != nil || addonOf(t, u.machine) != "quiet" {
		t.Errorf("confirmed: addon %q, %v", addonOf(t, u.machine), err)
	}
	if _, err := u.Apply(t.Context(), file(ofMedium+"  kernel: {args: [quiet, panic=30]}\n")); err != nil || addonOf(t, u.machine) != "quiet panic=30" {
		t.Errorf("applied: addon %q, %v", addonOf(t, u.machine), err)
	}
	waits("skerry.kernel.args[0]", "skerry.kernel.args[1]")

	u.phases(t) // the daemon is started again
	waits("skerry.kernel.args")
	if _, err := u.Apply(t.Context(), file(ofMedium)); err != nil || addonOf(t, u.machine) != "" {
		t.Errorf("taken out: addon %q, %v", addonOf(t, u.machine), err)
	}

	// What can't be kept is taken back.
	if err := os.RemoveAll(filepath.Join(u.Machine.Root, "efi")); err != nil {
		t.Fatal(err)
	}
	_, err = u.Apply(t.Context(), file(strings.ReplaceAll(with, "medium", "applied")))
	if err == nil || !strings.Contains(err.Error(), "EFI system partition") {
		t.Errorf("without a partition: %v", err)
	}
	u.is(t, "medium", "1", "hdd")
	u.phases(t)
	u.is(t, "medium", "1", "hdd")
}
