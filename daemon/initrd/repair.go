// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The exit codes of e2fsck(8), which are added up.
const (
	fsckRepaired = 1
	fsckReboot   = 2
)

// repairsFile is where a file system that was damaged is told of, a line for each, to whom comes after the initrd.
const repairsFile = "repairs"

// repair checks an ext4 file system, and mends it: first what can be mended without a loss, then all that can be, with the
// superblock's copies where it is gone itself. What that finds without a name is in lost+found. It fails when the file
// system can't be used, and says what that means.
func (r *root) repair(ctx context.Context, device string) error {
	said, code, err := fsck(ctx, "-p", device)
	if err != nil {
		return err
	}
	if usable(code) {
		if code != 0 {
			fmt.Fprint(r.out, said) // small repairs, of the journal's sort
		}
		return nil
	}
	name := partitionName(device)
	fmt.Fprintf(r.out, "skerry-initrd: %s (%s) is damaged: %s\n", name, device, firstLine(said, device))
	fmt.Fprintf(r.out, "skerry-initrd: repairing %s, which takes minutes where it is large\n", name)
	said, code, err = fsck(ctx, "-y", device)
	if err != nil {
		return err
	}
	fmt.Fprint(r.out, said) // what was lost nobody can tell later
	if !usable(code) {
		return fmt.Errorf("%s (%s) can't be repaired: %s\n%s", name, device, firstLine(said, device), afterLoss(name, device))
	}
	fmt.Fprintf(r.out, "skerry-initrd: %s is repaired; what lost its name is in its lost+found\n", name)
	return r.tell(name + " was damaged and is repaired; files that lost their names are in its lost+found")
}

// usable says of an exit code whether the file system is whole now. That its changes ask for a reboot is of mounted ones.
func usable(code int) bool { return code&^(fsckRepaired|fsckReboot) == 0 }

// fsck runs e2fsck and returns what it said and its exit code. It fails when it could not be run.
func fsck(ctx context.Context, mode, device string) (said string, code int, err error) {
	out, err := exec.CommandContext(ctx, "/usr/sbin/fsck.ext4", mode, device).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return string(out), exit.ExitCode(), nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("check %s: %w", device, err)
	}
	return string(out), 0, nil
}

// firstLine is the first that says something, without the device's name before it.
func firstLine(said, device string) string {
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), device+":"))
		if line != "" && !strings.HasPrefix(line, "e2fsck ") {
			return line
		}
	}
	return "fsck.ext4 doesn't say why"
}

// partitionName is that of the disk's layout.
func partitionName(device string) string {
	return strings.ToUpper(strings.TrimPrefix(filepath.Base(device), "skerry-"))
}

// afterLoss says what is lost with a partition, and how the machine starts again without it.
func afterLoss(name, device string) string {
	lost := map[string]string{
		"STATE": "It holds what makes this machine itself: its node password, its keys of ssh, its cloud-config.",
		"DATA":  "It holds /var: the datastore of a server, images, volumes, logs. Restore the datastore from a snapshot afterwards.",
	}[name]
	return fmt.Sprintf("%s To start with an empty one, at the rescue shell: mkfs.ext4 -F %s", lost, device)
}

// tell adds a line to what is told after the initrd.
func (r *root) tell(line string) error {
	if err := os.MkdirAll(r.run, 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(r.run, repairsFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, line+"\n")
	return errors.Join(err, file.Close())
}
