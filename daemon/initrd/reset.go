// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/luks"
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
		encryption := request.Encryption
		if encryption == "" {
			if encryption, err = r.encryptionNow(); err != nil {
				return err
			}
		}
		// With both partitions the request goes, too, in one write of the partition table.
		if err := r.mounter.unmount(state); err != nil {
			return err
		}
		return r.remake(ctx, encryption, stateDefinition, dataDefinition)
	}
	if request.Has(reset.Data) {
		encryption, err := r.unlockedBy()
		if err != nil {
			return err
		}
		if err := r.remakePartitions(ctx, encryption, dataDefinition); err != nil {
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
func (r *root) remake(ctx context.Context, encryption string, definitions ...string) error {
	if err := r.remakePartitions(ctx, encryption, definitions...); err != nil {
		return err
	}
	return r.restart()
}

// remakePartitions has systemd-repart take partitions out of the partition table and make them again: it writes the table
// without them at once, and the table with the new ones when these are complete. A power cut leaves the old ones, or
// none, which the next boot makes as on a new disk.
func (r *root) remakePartitions(ctx context.Context, encryption string, names ...string) error {
	for _, name := range names {
		if err := r.lock(ctx, mappingOf[name]); err != nil {
			return err
		}
	}
	if err := r.runRepart(ctx, "reset.d", encryption, names, "--factory-reset=yes"); err != nil {
		return fmt.Errorf("make partitions anew: %w", err)
	}
	fmt.Fprintf(r.out, "skerry-initrd: made anew: %s\n", strings.Join(names, ", "))
	return nil
}

// mappingOf is what an open partition is called.
var mappingOf = map[string]string{stateDefinition: "state", dataDefinition: "data"}

// encryptionNow is how partitions are encrypted that take the place of those on the disk: as these, where that takes nobody
// who types.
func (r *root) encryptionNow() (string, error) {
	encrypted, err := luks.Encrypted(r.partitionPath("state"))
	if err != nil || !encrypted {
		return "", err
	}
	if _, err := os.Stat(r.tpm); err != nil {
		fmt.Fprintln(r.out, "skerry-initrd: without a TPM the new partitions are not encrypted")
		return "", nil
	}
	return luks.TPM2, nil
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
	// udev may be reading what is new on the disk: cut off, that would look as if the disk were broken.
	if err := exec.Command("/usr/bin/udevadm", "settle", "--timeout=10").Run(); err != nil { //nolint:noctx // it has a time-out of its own
		fmt.Fprintf(os.Stderr, "skerry-initrd: udevadm settle: %v\n", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("start the machine again: %w", err)
	}
	select {} // until the kernel has done so
}
