// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// deviceWait is how long to wait for a device to appear: disks that are attached
// at all are there within seconds of the start.
const (
	deviceWait = 15 * time.Second
	devicePoll = 100 * time.Millisecond
)

// errNoDevice says that a device didn't appear.
var errNoDevice = errors.New("there is no such device")

// device waits for a device, given by path or tag, and returns the path of the
// node itself: the links to it may come to mean another.
func (m *Machine) device(ctx context.Context, name string) (string, error) {
	path := configschema.DevicePath(name)
	for deadline := m.System.Now().Add(deviceWait); ; {
		node, err := m.follow(path)
		if err == nil {
			return node, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("device %s: %w", name, err)
		}
		if !m.System.Now().Before(deadline) {
			return "", fmt.Errorf("device %s: %w", name, errNoDevice)
		}
		if err := m.System.Sleep(ctx, devicePoll); err != nil {
			return "", err
		}
	}
}

// follow resolves the links of a path of the machine.
func (m *Machine) follow(path string) (string, error) {
	real, err := filepath.EvalSymlinks(m.path(path))
	if err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(m.Root)
	if err != nil {
		return "", err
	}
	inside, err := filepath.Rel(root, real)
	if err != nil || strings.HasPrefix(inside, "..") {
		return "", fmt.Errorf("%s leads out of the root", path)
	}
	return "/" + inside, nil
}

// content is what blkid finds on a device. All of it is empty on an empty one.
type content struct{ kind, label, table string }

func (c content) empty() bool { return c.kind == "" && c.table == "" }

func (c content) String() string {
	switch {
	case c.kind == "":
		return "a partition table (" + c.table + ")"
	case c.label != "":
		return fmt.Sprintf("%s labelled %q", c.kind, c.label)
	}
	return c.kind
}

// nothingFound is the exit code of blkid for a device with nothing on it that it
// knows.
const nothingFound = 2

// probe looks at what is on a device, and not at what was remembered of it.
func (m *Machine) probe(ctx context.Context, device string) (content, error) {
	output, err := m.System.Run(ctx, "/usr/sbin/blkid", "--probe", "--output", "export", m.path(device))
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) && exit.ExitCode() == nothingFound {
		return content{}, nil
	}
	if err != nil {
		return content{}, fmt.Errorf("look at what is on %s: %w", device, err)
	}
	var c content
	for line := range strings.Lines(output) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		switch key {
		case "TYPE":
			c.kind = value
		case "LABEL":
			c.label = strings.ReplaceAll(value, `\ `, " ")
		case "PTTYPE":
			c.table = value
		}
	}
	return c, nil
}

// systemMounts are where the system's own disk is mounted.
var systemMounts = map[string]bool{"/": true, "/usr": true, "/var": true, "/state": true, "/efi": true}

// mayErase makes sure that a device is neither of the system's disk nor in use.
func (m *Machine) mayErase(device string) error {
	disks, err := m.disksOf(filepath.Base(device))
	if err != nil {
		return err
	}
	mounted, err := m.mountedDisks()
	if err != nil {
		return err
	}
	system := map[string]bool{}
	links, err := filepath.Glob(m.path("/dev/disk/by-partlabel/skerry-*"))
	if err != nil {
		return err
	}
	for _, link := range links {
		node, err := filepath.EvalSymlinks(link)
		if err != nil {
			return err
		}
		of, err := m.disksOf(filepath.Base(node))
		if err != nil {
			return err
		}
		for _, disk := range of {
			system[disk] = true
		}
	}
	for _, mount := range mounted {
		if systemMounts[mount.where] {
			system[mount.disk] = true
		}
	}
	if len(system) == 0 {
		return fmt.Errorf("%s is left alone: it can't be told which disk is the system's own", device)
	}
	for _, disk := range disks {
		if system[disk] {
			return fmt.Errorf("%s is on the system's own disk, which is never touched", device)
		}
		for _, mount := range mounted {
			if mount.disk == disk {
				return fmt.Errorf("%s is in use: %s is mounted from its disk", device, mount.where)
			}
		}
	}
	return nil
}

// mountedDisk is a mount with one of the disks below it.
type mountedDisk struct{ where, disk string }

// mountedDisks reads proc_pid_mountinfo(5): the third field is the number of the
// device, the fifth the folder.
func (m *Machine) mountedDisks() ([]mountedDisk, error) {
	data, err := os.ReadFile(m.path("/proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("look at what is mounted: %w", err)
	}
	var list []mountedDisk
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		dir, err := filepath.EvalSymlinks(m.path("/sys/dev/block/" + fields[2]))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a file system without a device
		}
		if err != nil {
			return nil, err
		}
		disks, err := m.disksOf(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		for _, disk := range disks {
			list = append(list, mountedDisk{fields[4], disk})
		}
	}
	return list, nil
}

// disksOf returns the whole disks below a device: those of its slaves where it
// is made of others, the one it is a partition of, or itself.
func (m *Machine) disksOf(name string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(m.path("/sys/class/block/" + name))
	if err != nil {
		return nil, fmt.Errorf("look for the disk of %s: %w", name, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return []string{filepath.Base(filepath.Dir(dir))}, nil
	}
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(slaves) == 0 {
		return []string{filepath.Base(dir)}, nil
	}
	var disks []string
	for _, slave := range slaves {
		below, err := m.disksOf(slave.Name())
		if err != nil {
			return nil, err
		}
		disks = append(disks, below...)
	}
	return disks, nil
}
