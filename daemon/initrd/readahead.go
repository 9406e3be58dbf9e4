// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// largePrograms are what every boot runs after the initrd, in that order, and waits for: they are compressed on a
// verified disk, and reading them takes seconds on small machines.
var largePrograms = []string{"/usr/bin/skerry", "/usr/libexec/skerry/skerry-kube", "/usr/bin/containerd"}

// readAhead lets the kernel read the large programs while systemd moves to the root, when the disk and all processors but
// one have nothing to do. It only asks for it, and doesn't wait. That a program can't be opened is not for the initrd to
// judge: whoever runs it will say so.
func readAhead(_ context.Context, r *root) error {
	for _, name := range largePrograms {
		if err := willNeed(r.path(name)); err != nil {
			fmt.Fprintf(r.out, "skerry-initrd: read ahead: %v\n", err)
		}
	}
	return nil
}

func willNeed(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_WILLNEED); err != nil {
		return fmt.Errorf("%s: fadvise: %w", path, err)
	}
	return nil
}
