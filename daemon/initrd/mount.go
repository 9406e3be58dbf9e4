// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mounter mounts file systems. Tests put their own in its place.
type mounter interface {
	// mounted says whether something is mounted on a path.
	mounted(path string) (bool, error)
	mount(source, target, fstype string, flags uintptr, options string) error
	unmount(target string) error
}

// kernel is the mounter that mounts.
type kernel struct{}

func (kernel) mounted(path string) (bool, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	defer file.Close()
	return findMount(file, path)
}

func (kernel) mount(source, target, fstype string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

func (kernel) unmount(target string) error {
	if err := unix.Unmount(target, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// findMount looks for a mount point in proc_pid_mountinfo(5), whose fifth field
// it is, with blanks and backslashes in octal.
func findMount(mountinfo io.Reader, path string) (bool, error) {
	path = filepath.Clean(path)
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20) // the options of an overlay can be long
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && unescape.Replace(fields[4]) == path {
			return true, nil
		}
	}
	return false, lines.Err()
}
