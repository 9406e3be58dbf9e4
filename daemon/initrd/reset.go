// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/reset"
)

// What systemd-repart's definitions of STATE and DATA are called.
const (
	definitionsDir  = "/usr/lib/repart.d"
	stateDefinition = "40-state.conf"
	dataDefinition  = "50-data.conf"
)

// perform does the reset that waits on STATE, which is mounted, before DATA is. Each step may be interrupted and repeated;
// what asks for the reset goes last. It doesn't return where partitions were made anew: names of devices have come and gone
// under systemd's eyes then, and only a boot puts that in order.
func (r *root) perform(ctx context.Context) error {
	state := r.path("/state")
	request, err := reset.Asked(state)
	if err != nil || request == nil {
		return err
	}
	fmt.Fprintf(r.out, "skerry-initrd: resetting %s, asked for by %s\n", request, request.By)
	if request.All() {
		// With both partitions the request goes, too, in one write of the partition table.
		if err := r.mounter.unmount(state); err != nil {
			return err
		}
		return r.remake(ctx, stateDefinition, dataDefinition)
	}
	if request.Has(reset.Data) {
		if err := r.remakePartitions(ctx, dataDefinition); err != nil {
			return err
		}
	}
	if err := reset.Clean(state, request); err != nil {
		return err
	}
	if err := reset.Finish(state, request); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "skerry-initrd: %s: reset\n", request)
	if !request.Has(reset.Data) {
		return nil
	}
	if err := r.mounter.unmount(state); err != nil {
		return err
	}
	return r.restart()
}

// remake makes partitions anew and restarts the machine.
func (r *root) remake(ctx context.Context, definitions ...string) error {
	if err := r.remakePartitions(ctx, definitions...); err != nil {
		return err
	}
	return r.restart()
}

// remakePartitions has systemd-repart take partitions out of the partition table and make them again: it writes the table
// without them at once, and the table with the new ones when these are complete. A power cut leaves the old ones, or
// none, which the next boot makes as on a new disk.
func (r *root) remakePartitions(ctx context.Context, names ...string) error {
	definitions := filepath.Join(r.run, "reset.d")
	if err := markForReset(r.path(definitionsDir), definitions, names); err != nil {
		return err
	}
	out, err := r.repart(ctx, "--root="+r.dir, "--definitions="+definitions, "--factory-reset=yes", "--dry-run=no")
	if err != nil {
		return fmt.Errorf("make partitions anew: %w: %s", err, strings.TrimSpace(out))
	}
	fmt.Fprintf(r.out, "skerry-initrd: made anew: %s\n", strings.Join(names, ", "))
	return nil
}

// markForReset copies systemd-repart's definitions, of which some are told to take part in a reset.
func markForReset(from, to string, names []string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	marked := map[string]bool{}
	for _, name := range names {
		marked[name] = true
	}
	for _, e := range entries {
		if e.IsDir() {
			return fmt.Errorf("%s in %s is not a definition", e.Name(), from)
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if marked[e.Name()] {
			data = append(data, "\n[Partition]\nFactoryReset=yes\n"...)
			delete(marked, e.Name())
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	for name := range marked {
		return fmt.Errorf("%s has no %s", from, name)
	}
	return nil
}

// systemdRepart runs it, with what it says as the result.
func systemdRepart(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "/usr/bin/systemd-repart", args...).CombinedOutput()
	return string(out), err
}

// restart restarts the machine at once: nothing runs yet that would have to end in order.
func (r *root) restart() error {
	fmt.Fprintln(r.out, "skerry-initrd: the machine starts again")
	return r.reboot()
}

func restartMachine() error {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("start the machine again: %w", err)
	}
	select {} // until the kernel has done so
}
