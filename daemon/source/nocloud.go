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
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// noCloudLabel is the file system label of a NoCloud volume, in any case: vfat
// only has capitals.
const noCloudLabel = "cidata"

// NoCloud reads a volume labelled cidata, with the files user-data, meta-data
// and network-config in its root: cloud-init's NoCloud.
type NoCloud struct {
	// Labels is the folder where udev links block devices by label, Queue the
	// file that is there as long as udev has devices to look at.
	Labels, Queue string
	// Run is a folder on a tmpfs, for the mount point.
	Run string
	// Settle bounds the wait for udev. Linger is how long to look at the least,
	// for a device that the kernel is slow to find; zero where the machine has a
	// copy of its configuration to boot with.
	Settle, Linger time.Duration
	// Mount mounts a device read-only and returns what unmounts it.
	Mount func(device, dir string) (unmount func() error, err error)
	Log   *slog.Logger
}

// NewNoCloud returns the source as it is on a running machine.
func NewNoCloud(log *slog.Logger) *NoCloud {
	return &NoCloud{
		Labels: "/dev/disk/by-label",
		Queue:  "/run/udev/queue",
		Run:    "/run/skerry",
		Settle: 30 * time.Second,
		Mount:  mountVolume,
		Log:    log,
	}
}

// Name returns "nocloud".
func (*NoCloud) Name() string { return "nocloud" }

// Fetch reads the volume. A volume without user-data is an error: somebody has
// made it for this machine, and would wait in vain.
func (n *NoCloud) Fetch(ctx context.Context) (document *Document, err error) {
	device, err := n.find(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.Run, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(n.Run, "nocloud-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	unmount, err := n.Mount(device, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return readVolume(device, dir)
}

// find waits until there is a volume, or udev has looked at every device there
// is without finding one.
func (n *NoCloud) find(ctx context.Context) (device string, err error) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, n.Settle)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// Asked before the look, or a device could come between the two.
		settled := !exists(n.Queue)
		if device, err := n.labelled(); err != nil || device != "" {
			return device, err
		}
		if settled && time.Since(started) >= n.Linger {
			return "", ErrAbsent
		}
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return "", err
			}
			n.Log.Warn("udev has not settled; going on without a volume labelled "+noCloudLabel, "waited", n.Settle)
			return "", ErrAbsent
		case <-tick.C:
		}
	}
}

// labelled returns the device with the label. With several, the first by name
// is taken, so that it is the same at each boot.
func (n *NoCloud) labelled() (string, error) {
	entries, err := os.ReadDir(n.Labels)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for a volume labelled %s: %w", noCloudLabel, err)
	}
	var found []string
	for _, entry := range entries {
		if strings.EqualFold(entry.Name(), noCloudLabel) {
			found = append(found, filepath.Join(n.Labels, entry.Name()))
		}
	}
	if len(found) == 0 {
		return "", nil
	}
	if len(found) > 1 {
		n.Log.Warn("several volumes are labelled "+noCloudLabel+"; the first is used", "volumes", found)
	}
	return found[0], nil
}

func readVolume(device, dir string) (*Document, error) {
	name := "the volume " + filepath.Base(device)
	if target, err := filepath.EvalSymlinks(device); err == nil && target != device {
		name += " (" + target + ")"
	}
	userData, err := readFile(dir, userDataFile, maxUserData)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if userData == nil {
		return nil, fmt.Errorf("%s has no file named %s in its root", name, userDataFile)
	}
	metaData, err := readFile(dir, metaDataFile, maxMetaData)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	networkConfig, err := readFile(dir, networkConfigFile, maxNetworkConfig)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return newDocument("nocloud", name, userData, metaData, networkConfig)
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

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// mountVolume mounts a volume with either file system NoCloud allows.
func mountVolume(device, dir string) (unmount func() error, err error) {
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	var failures []error
	for _, fstype := range []string{"iso9660", "vfat"} {
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
