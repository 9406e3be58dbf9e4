// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// loopSector is the size of a sector of a loop device, in bytes.
const loopSector = 512

// loopTries is how often a loop device is asked for that somebody else was faster to take.
const loopTries = 10

// attachLoop gives a drive or an image to a loop device of its own, read-only, whose partitions the kernel looks for. It stays
// until the machine is off.
func attachLoop(image string) error {
	if out, err := exec.Command("/usr/sbin/modprobe", "loop").CombinedOutput(); err != nil {
		return fmt.Errorf("load the module loop: %w: %s", err, strings.TrimSpace(string(out)))
	}
	backing, err := os.Open(image)
	if err != nil {
		return err
	}
	defer backing.Close() // the loop device keeps it
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	for range loopTries {
		err = attachFree(control, backing)
		if !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("attach %s to a loop device: %w", image, err)
	}
	return nil
}

func attachFree(control, backing *os.File) error {
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return err
	}
	device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: loopSector}
	config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_PARTSCAN
	copy(config.Info.File_name[:], backing.Name())
	return unix.IoctlLoopConfigure(int(device.Fd()), &config)
}
