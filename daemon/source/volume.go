// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Volumes are the block devices of a machine, found by the label of their file
// system. The sources that read a volume share them: the machine is waited for
// once.
type Volumes struct {
	// Labels is the folder where udev links block devices by label, Queue the
	// file that is there as long as udev has devices to look at.
	Labels, Queue string
	// Run is a folder on a tmpfs, for the mount point.
	Run string
	// Settle bounds the wait for udev. Linger is how long to look at the least,
	// for a device that the kernel is slow to find; zero where the machine has
	// another place to get its configuration from.
	Settle, Linger time.Duration
	// Mount mounts a device read-only with the first of the file systems that
	// fits, and returns what unmounts it.
	Mount func(device, dir string, fstypes ...string) (unmount func() error, err error)
	Log   *slog.Logger

	started time.Time
}

// NewVolumes returns the volumes of this machine.
func NewVolumes(log *slog.Logger) *Volumes {
	return &Volumes{
		Labels: "/dev/disk/by-label",
		Queue:  "/run/udev/queue",
		Run:    "/run/skerry",
		Settle: 30 * time.Second,
		Mount:  mountVolume,
		Log:    log,
	}
}

// wanted are the labels of all sources. One that is there ends the wait for all.
var wanted = []string{noCloudLabel, configDriveLabel}

// find waits until there is a volume that any source wants, or udev has looked
// at every device there is, and returns the one with a label, or nothing.
func (v *Volumes) find(ctx context.Context, label string) (device string, err error) {
	if v.started.IsZero() {
		v.started = time.Now()
	}
	err = v.wait(ctx, v.Linger, func() (bool, error) {
		found, err := v.labelled(wanted...)
		return len(found) > 0, err
	})
	if err != nil {
		return "", err
	}
	found, err := v.labelled(label)
	if err != nil || len(found) == 0 {
		return "", err
	}
	if len(found) > 1 {
		v.Log.Warn("several volumes are labelled "+label+"; the first is used", "volumes", found)
	}
	return found[0], nil
}

// Labelled waits until udev has looked at every device there is, and returns the
// one whose file system has a label, in any case, or nothing.
func (v *Volumes) Labelled(ctx context.Context, label string) (device string, err error) {
	if err := v.settle(ctx); err != nil {
		return "", err
	}
	found, err := v.labelled(label)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0], nil
}

// settle waits until udev has looked at every device there is.
func (v *Volumes) settle(ctx context.Context) error {
	return v.wait(ctx, 0, func() (bool, error) { return false, nil })
}

// wait waits until something is there, or udev is idle and the machine has
// lingered long enough. That udev never gets idle is worth a warning only.
func (v *Volumes) wait(ctx context.Context, linger time.Duration, there func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, v.Settle)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// Asked before the look, or a device could come between the two.
		settled := !exists(v.Queue)
		if found, err := there(); err != nil || found {
			return err
		}
		if settled && (linger == 0 || time.Since(v.started) >= linger) {
			return nil
		}
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			v.Log.Warn("udev has not settled; going on with the devices that are there", "waited", v.Settle)
			return nil
		case <-tick.C:
		}
	}
}

// labelled returns the devices with one of the labels, in any case: vfat only
// has capitals. They are in the order of their names, so that the first is the
// same at each boot.
func (v *Volumes) labelled(labels ...string) ([]string, error) {
	entries, err := os.ReadDir(v.Labels)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for a volume labelled %s: %w", strings.Join(labels, " or "), err)
	}
	var found []string
	for _, entry := range entries {
		if slices.ContainsFunc(labels, func(l string) bool { return strings.EqualFold(entry.Name(), l) }) {
			found = append(found, filepath.Join(v.Labels, entry.Name()))
		}
	}
	return found, nil
}

// read mounts a device for as long as a function reads it.
func (v *Volumes) read(device string, fstypes []string, read func(dir string) error) (err error) {
	if err := os.MkdirAll(v.Run, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(v.Run, "volume-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	unmount, err := v.Mount(device, dir, fstypes...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return read(dir)
}

// volumeName names a volume in messages: by its label, and the device behind.
func volumeName(device string) string {
	name := "the volume " + filepath.Base(device)
	if target, err := filepath.EvalSymlinks(device); err == nil && target != device {
		name += " (" + target + ")"
	}
	return name
}

// readFile reads a file of a folder by its name in any case, for file systems
// that shout. It returns nil when there is none.
func readFile(dir, name string, limit int64) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.EqualFold(entry.Name(), name) {
			continue
		}
		if !entry.Type().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", entry.Name())
		}
		file, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		defer file.Close()
		data, err := readLimited(file, limit)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return data, nil
	}
	return nil, nil
}

// readFiles reads the files of a document that a folder has. The names in the
// folder are the keys of names, the names in the document its values.
func readFiles(dir string, names map[string]string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for there, here := range names {
		data, err := readFile(dir, there, fileLimits[here])
		if err != nil {
			return nil, err
		}
		files[here] = data
	}
	return files, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// mountVolume mounts a volume with the first file system that fits.
func mountVolume(device, dir string, fstypes ...string) (unmount func() error, err error) {
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	var failures []error
	for _, fstype := range fstypes {
		err := unix.Mount(device, dir, fstype, flags, "")
		if err == nil {
			return func() error {
				if err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); err != nil {
					return fmt.Errorf("unmount %s: %w", device, err)
				}
				return nil
			}, nil
		}
		failures = append(failures, fmt.Errorf("mount %s as %s: %w", device, fstype, err))
	}
	return nil, errors.Join(failures...)
}
