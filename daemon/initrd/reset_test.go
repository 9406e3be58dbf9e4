// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/reset"
)

// resetting is a machine on which a reset waits, and what was done for it, in order.
type resetting struct {
	*root
	mounts *recorder
	did    []string
	marked []string // definitions that take part
}

func newResetting(t *testing.T, parts ...reset.Part) *resetting {
	t.Helper()
	r, m, _ := machine(t)
	x := &resetting{root: r, mounts: m}
	for name, text := range map[string]string{
		definitionsDir + "/10-esp.conf":        "[Partition]\nType=esp\n",
		definitionsDir + "/" + stateDefinition: "[Partition]\nLabel=skerry-state",
		definitionsDir + "/" + dataDefinition:  "[Partition]\nLabel=skerry-data\n",
		"/state/machine-id":                    "x\n",
		"/state/rancher/node/password":         "x\n",
		"/state/cloud-config-1/user-data":      "x\n",
		"/state/kernel-args.json":              "{}",
	} {
		path := r.path(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if len(parts) > 0 {
		if err := reset.Ask(r.path("/state"), &reset.Request{Parts: parts, By: "a test", ID: "wipe-1"}); err != nil {
			t.Fatal(err)
		}
	}
	r.repart = func(_ context.Context, args ...string) (string, error) {
		x.did = append(x.did, "repart")
		for _, want := range []string{"--root=" + r.dir, "--factory-reset=yes", "--dry-run=no"} {
			if !slices.Contains(args, want) {
				t.Errorf("systemd-repart runs with %q, without %s", args, want)
			}
		}
		dir := filepath.Join(r.run, "reset.d")
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 3 || !slices.Contains(args, "--definitions="+dir) {
			t.Errorf("definitions %v, %v, %q", entries, err, args)
		}
		x.marked = nil
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Error(err)
			}
			if strings.Contains(string(data), "\n[Partition]\nFactoryReset=yes\n") {
				x.marked = append(x.marked, e.Name())
			}
		}
		return "", nil
	}
	r.reboot = func() error {
		x.did = append(x.did, "reboot")
		return nil
	}
	return x
}

func (x *resetting) has(name string) bool {
	_, err := os.Lstat(x.path(name))
	return err == nil
}

func TestPerform(t *testing.T) {
	for _, test := range []struct {
		parts  []reset.Part
		did    []string
		marked []string
		kept   map[string]bool
	}{
		{parts: nil, kept: map[string]bool{"/state/machine-id": true, "/state/cloud-config-1": true}},
		{parts: []reset.Part{reset.Data}, did: []string{"repart", "reboot"}, marked: []string{dataDefinition},
			kept: map[string]bool{"/state/machine-id": true, "/state/rancher/node/password": true, "/state/cloud-config-1": true}},
		{parts: []reset.Part{reset.Identity}, kept: map[string]bool{"/state/machine-id": false, "/state/rancher/node/password": false, "/state/cloud-config-1": true}},
		{parts: []reset.Part{reset.Config}, kept: map[string]bool{"/state/machine-id": true, "/state/cloud-config-1": false, "/state/kernel-args.json": true}},
		{parts: []reset.Part{reset.Config, reset.Data}, did: []string{"repart", "reboot"}, marked: []string{dataDefinition},
			kept: map[string]bool{"/state/machine-id": true, "/state/cloud-config-1": false}},
		// The files are those of a partition that is there no more.
		{parts: reset.Parts, did: []string{"repart", "reboot"}, marked: []string{stateDefinition, dataDefinition}},
	} {
		r := reset.Request{Parts: test.parts}
		t.Run(r.String(), func(t *testing.T) {
			x := newResetting(t, test.parts...)
			if err := x.perform(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(x.did, test.did) || !slices.Equal(x.marked, test.marked) {
				t.Errorf("it did %q, with %q", x.did, x.marked)
			}
			for name, kept := range test.kept {
				if x.has(name) != kept {
					t.Errorf("%s is there: %v", name, !kept)
				}
			}
			if rebooted := slices.Contains(x.did, "reboot"); rebooted != slices.Contains(x.mounts.calls, "unmount "+x.path("/state")) {
				t.Errorf("rebooted: %v, mounts %q", rebooted, x.mounts.calls)
			}
			if r.All() {
				return
			}
			if again, err := reset.Asked(x.path("/state")); again != nil || err != nil {
				t.Errorf("it waits still: %+v, %v", again, err)
			}
		})
	}
}

// TestPerformAgain: one that was interrupted, or has failed, is done at the next boot.
func TestPerformAgain(t *testing.T) {
	for _, parts := range [][]reset.Part{{reset.Data, reset.Identity}, reset.Parts} {
		x := newResetting(t, parts...)
		repart := x.repart
		x.repart = func(ctx context.Context, args ...string) (string, error) {
			return "Failed to write partition table\n", errors.Join(errors.New("exit status 1"), ctx.Err())
		}
		err := x.perform(t.Context())
		if err == nil || !strings.Contains(err.Error(), "exit status 1: Failed to write partition table") || !x.has("/state/machine-id") {
			t.Errorf("%v: %v; the identity is there: %v", parts, err, x.has("/state/machine-id"))
		}
		if r, err := reset.Asked(x.path("/state")); r == nil || err != nil {
			t.Errorf("%v: it doesn't wait any more: %v", parts, err)
		}
		x.repart = repart
		if err := x.perform(t.Context()); err != nil || !slices.Equal(x.did, []string{"repart", "reboot"}) {
			t.Errorf("%v: the second time it did %q: %v", parts, x.did, err)
		}
	}
}

// TestPerformUnknown: what can't be read is told, and nothing done.
func TestPerformUnknown(t *testing.T) {
	x := newResetting(t)
	if err := os.WriteFile(x.path("/state/reset.json"), []byte(`{"parts":["everything"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := x.perform(t.Context()); err == nil || len(x.did) > 0 || !x.has("/state/machine-id") {
		t.Errorf("%v, did %q", err, x.did)
	}
}

// TestNewIdentity: the boot that makes the machine-id says so to those after it, and no other does.
func TestNewIdentity(t *testing.T) {
	r, _, _ := machine(t)
	for _, isNew := range []bool{true, false} {
		if err := os.RemoveAll(r.run); err != nil {
			t.Fatal(err)
		}
		if err := r.prepare(t.Context(), steps()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(r.run, reset.NewFile)); (err == nil) != isNew {
			t.Errorf("new: %v, %v", isNew, err)
		}
		if isNew {
			r, _, _ = sameState(t, r)
		}
	}
}

// sameState is the next boot of a machine.
func sameState(t *testing.T, before *root) (*root, *recorder, error) {
	t.Helper()
	after, m, _ := machine(t)
	data, err := os.ReadFile(before.path("/state/machine-id"))
	if err != nil {
		t.Fatal(err)
	}
	return after, m, os.WriteFile(after.path("/state/machine-id"), data, 0o444)
}
