// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/extension"
)

// TestModuleOfMissingExtension: a kernel module that can't be loaded is no reason not to boot where an extension is missing,
// and is one where none is.
func TestModuleOfMissingExtension(t *testing.T) {
	m, system := newMachine(t)
	var console strings.Builder
	m.Log = slog.New(slog.NewTextHandler(&console, nil))
	m.Extensions = &extension.Set{Root: m.Root, Run: system.Run, Log: m.Log}
	release := m.path("/usr/lib/os-release")
	if err := errors.Join(os.MkdirAll(filepath.Dir(release), 0o755), os.WriteFile(release, []byte("ID=skerry\nVERSION_ID=1\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	system.refuse["nic"] = errors.New("not found")
	loaded := parse(t, "skerry: {modules: [nic], extensions: [{name: nic, path: /var/nic.raw}]}\n")
	for _, run := range []func() error{
		func() error { return keptExtensions(t.Context(), m, loaded) },
		func() error { return modules(t.Context(), m, loaded) },
		func() error { return Extensions(t.Context(), m, loaded) },
	} {
		if err := run(); err != nil {
			t.Error(err)
		}
	}
	if len(system.modules) != 2 || !strings.Contains(console.String(), "load module nic: not found") || !strings.Contains(console.String(), "extension nic: failed") {
		t.Errorf("loaded were %q, and the console says\n%s", system.modules, console.String())
	}
	if err := modules(t.Context(), m, parse(t, "skerry: {modules: [nic]}\n")); err == nil {
		t.Error("a module that nothing brings isn't missed")
	}
}
