// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/efiaddon"
)

const (
	twoArgs = "skerry: {kernel: {args: ['isolcpus=2,3', quiet]}}\n"
	oneArg  = "skerry: {kernel: {args: ['isolcpus=2,3']}}\n"
)

// firmware is what a machine is started by: it reads the addon, unless it is
// one that doesn't.
type firmware struct {
	m    *Machine
	deaf bool
}

func newFirmware(t *testing.T) *firmware {
	t.Helper()
	m, _ := newMachine(t)
	f := &firmware{m: m}
	stub, err := os.ReadFile("../efiaddon/testdata/addon.stub")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{efiaddon.Stub: stub, espDir + "/EFI/Linux/skerry_0.1.0.efi": nil} {
		if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.path(name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f.start(t)
	return f
}

// start begins a boot.
func (f *firmware) start(t *testing.T) {
	t.Helper()
	line := "roothash=00 ro panic=10"
	if args := f.addon(t); args != "" && !f.deaf {
		line += " " + args
	}
	if err := os.WriteFile(f.m.path(commandLineFile), []byte(line+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(f.m.path("/run")); err != nil {
		t.Fatal(err)
	}
}

// addon returns what is in the addon, nothing when there is none.
func (f *firmware) addon(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(f.m.path(addonFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	args, err := efiaddon.CommandLine(data)
	if err != nil {
		return "" // systemd-stub passes over a broken one
	}
	return args
}

// boots starts the machine until it asks for no reboot, and returns how often it
// was started.
func (f *firmware) boots(t *testing.T, text string) (int, error) {
	t.Helper()
	for n := 1; ; n++ {
		f.start(t)
		reboot, err := BootKernelArgs(f.m, parse(t, text))
		if err != nil || !reboot {
			return n, err
		}
		if n > 10 {
			t.Fatal("it reboots for ever")
		}
	}
}

func TestKernelArgs(t *testing.T) {
	f := newFirmware(t)
	for _, step := range []struct {
		name, text string
		boots      int
		args       string
	}{
		{"none", "", 1, ""},
		{"first", twoArgs, 2, "isolcpus=2,3 quiet"},
		{"again", twoArgs, 1, "isolcpus=2,3 quiet"},
		{"one less, which is a part of what was", oneArg, 2, "isolcpus=2,3"},
		{"again", oneArg, 1, "isolcpus=2,3"},
		{"none any more", "", 2, ""},
		{"still none", "", 1, ""},
	} {
		n, err := f.boots(t, step.text)
		if err != nil || n != step.boots || f.addon(t) != step.args {
			t.Errorf("%s: %d boots, %q, %v; want %d, %q", step.name, n, f.addon(t), err, step.boots, step.args)
		}
		if waits, err := KernelArgsWait(f.m, parse(t, step.text)); waits || err != nil {
			t.Errorf("%s: waits for a reboot, %v", step.name, err)
		}
	}
	for _, gone := range []string{addonFile, kernelArgsFile} {
		if _, err := os.Lstat(f.m.path(gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
}

// TestKernelArgsLater: a daemon that is started again under way reboots nothing,
// and what config apply writes is there at the next boot.
func TestKernelArgsLater(t *testing.T) {
	f := newFirmware(t)
	if n, err := f.boots(t, ""); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := WriteKernelArgs(f.m, parse(t, twoArgs)); err != nil {
		t.Fatal(err)
	}
	if waits, err := KernelArgsWait(f.m, parse(t, twoArgs)); !waits || err != nil {
		t.Errorf("doesn't wait for a reboot, %v", err)
	}
	if reboot, err := BootKernelArgs(f.m, parse(t, twoArgs)); reboot || err != nil {
		t.Errorf("a daemon that is started again reboots: %v, %v", reboot, err)
	}
	if waits, err := KernelArgsWait(f.m, parse(t, twoArgs)); !waits || err != nil {
		t.Errorf("it forgot that it waits, %v", err)
	}
	if n, err := f.boots(t, twoArgs); n != 1 || err != nil {
		t.Errorf("%d boots after config apply, %v", n, err)
	}
}

// TestKernelArgsDeaf: firmware that doesn't hand the arguments over is told of,
// and not asked for ever.
func TestKernelArgsDeaf(t *testing.T) {
	f := newFirmware(t)
	f.deaf = true
	n, err := f.boots(t, oneArg)
	if err == nil || n != 1+maxKernelReboots || !strings.Contains(err.Error(), "does not hand over") {
		t.Errorf("%d boots, %v", n, err)
	}
	if n, err := f.boots(t, oneArg); err == nil || n != 1 {
		t.Errorf("the next time %d boots, %v", n, err)
	}
	if n, err := f.boots(t, ""); err != nil || n != 1 {
		t.Errorf("without arguments %d boots, %v", n, err)
	}
	f.deaf = false
	if n, err := f.boots(t, oneArg); err != nil || n != 2 {
		t.Errorf("mended, %d boots, %v", n, err)
	}
}

func TestKernelArgsRefused(t *testing.T) {
	f := newFirmware(t)
	name := f.m.path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte{6, 0, 0, 0, 1}, 0o644); err != nil {
		t.Fatal(err)
	}
	if n, err := f.boots(t, oneArg); !errors.Is(err, ErrSecureBoot) || n != 1 {
		t.Errorf("with Secure Boot: %d boots, %v", n, err)
	}
	if waits, err := KernelArgsWait(f.m, parse(t, oneArg)); !waits || !errors.Is(err, ErrSecureBoot) {
		t.Errorf("with Secure Boot: %t, %v", waits, err)
	}
	if n, err := f.boots(t, ""); err != nil || n != 1 {
		t.Errorf("with Secure Boot, and without arguments: %d boots, %v", n, err)
	}
	if err := os.WriteFile(name, []byte{6, 0, 0, 0, 0}, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(f.m.path(espDir + "/EFI")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.boots(t, oneArg); err == nil || !strings.Contains(err.Error(), "EFI system partition is not there") {
		t.Errorf("without a partition: %v", err)
	}
}

// TestKernelArgsPowerCuts cuts the power at each write: the machine comes to what
// the configuration says, whatever that is then.
func TestKernelArgsPowerCuts(t *testing.T) {
	for _, next := range []struct{ text, want string }{{twoArgs, "isolcpus=2,3 quiet"}, {oneArg, "isolcpus=2,3"}, {"", ""}} {
		for cut := 0; ; cut++ {
			f := newFirmware(t)
			system := f.m.System.(*fakeSystem)
			system.after = cut
			_, err := f.boots(t, twoArgs)
			system.after = -1
			if err == nil {
				break
			}
			if !errors.Is(err, errPowerCut) {
				t.Fatal(err)
			}
			if _, err := f.boots(t, next.text); err != nil || f.addon(t) != next.want {
				t.Errorf("cut %d: %q, %v; want %q", cut, f.addon(t), err, next.want)
			}
		}
	}
	// vfat may leave half of a file.
	f := newFirmware(t)
	if _, err := f.boots(t, twoArgs); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.m.path(addonFile), 512); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.m.path(filepath.Dir(addonFile)+"/.skerry.addon.efi123"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := f.boots(t, twoArgs); err != nil || n != 2 || f.addon(t) != "isolcpus=2,3 quiet" {
		t.Errorf("%d boots with a broken addon, %v", n, err)
	}
	entries, err := os.ReadDir(filepath.Dir(f.m.path(addonFile)))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the addon: %v, %v", entries, err)
	}
	// And what is remembered may be broken, too.
	if err := os.WriteFile(f.m.path(kernelArgsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := f.boots(t, twoArgs); err != nil || n != 2 {
		t.Errorf("%d boots with a broken file on STATE, %v", n, err)
	}
}
