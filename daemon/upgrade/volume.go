// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// volume is a payload on a disk that isn't the machine's own, such as a USB stick: the folder or tar archive at a path of the
// file system with a label. The file system is read-only, and mounted nowhere but in this process, so that nothing of it is
// left when that ends, however it does.
type volume struct {
	label, path string
	// find returns the device with a label, or nothing.
	find func(ctx context.Context, label string) (device string, err error)

	mounted *os.File // the top of the file system
	root    *os.Root // the same; no link leads out of it
	files   files
}

func (v *volume) String() string {
	text := "disk:" + v.label
	if v.path != "." {
		text += "/" + v.path
	}
	return text
}

func (v *volume) Close() error {
	var failures []error
	if v.files != nil {
		failures = append(failures, v.files.close())
	}
	if v.root != nil {
		failures = append(failures, v.root.Close())
	}
	if v.mounted != nil {
		failures = append(failures, v.mounted.Close())
	}
	return errors.Join(failures...)
}

func (v *volume) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, int64, error) {
	if v.files == nil {
		if err := v.mount(ctx); err != nil {
			return nil, 0, err
		}
	}
	return openFrom(v.files, name, offset)
}

// mount finds the volume, and what is at the path.
func (v *volume) mount(ctx context.Context) error {
	device, err := v.find(ctx, v.label)
	if err != nil {
		return err
	}
	if device == "" {
		return fmt.Errorf("no file system is labelled %s: is the disk there? lsblk -o NAME,FSTYPE,LABEL says which are", v.label)
	}
	if v.mounted == nil {
		if v.mounted, err = mountDetached(device); err != nil {
			return err
		}
	}
	if v.root == nil {
		if v.root, err = os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", v.mounted.Fd())); err != nil {
			return err
		}
	}
	info, err := v.root.Stat(v.path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		v.files, err = openArchive(v.root.OpenFile(v.path, openFlags, 0))
		return err
	}
	v.files = directory(func(name string) (*os.File, error) {
		return v.root.OpenFile(filepath.Join(v.path, name), openFlags, 0)
	})
	return nil
}

// volumeType is a file system that a volume may have, by what it has at a place, in bytes.
type volumeType struct {
	name, magic string
	at          int64
	// options are those beside what all have.
	options []string
}

// volumeTypes are told apart before anything is mounted: a kernel that tries complains on the console. ext4 would write to
// the disk even where it is mounted read-only: what its journal has.
var volumeTypes = []volumeType{
	{name: "iso9660", magic: "CD001", at: 0x8001}, // before others: a disc may have a partition table or file system in front
	{name: "ext4", magic: "\x53\xef", at: 0x438, options: []string{"noload"}},
	{name: "exfat", magic: "EXFAT   ", at: 3},
	{name: "vfat", magic: "FAT32   ", at: 82},
	{name: "vfat", magic: "FAT1", at: 54}, // FAT12 and FAT16
}

// typeOf is the file system of a device.
func typeOf(device string) (volumeType, error) {
	file, err := os.Open(device)
	if err != nil {
		return volumeType{}, err
	}
	defer file.Close()
	for _, t := range volumeTypes {
		magic := make([]byte, len(t.magic))
		if _, err := file.ReadAt(magic, t.at); err != nil && !errors.Is(err, io.EOF) {
			return volumeType{}, fmt.Errorf("read %s: %w", device, err)
		}
		if string(magic) == t.magic {
			return t, nil
		}
	}
	return volumeType{}, fmt.Errorf("%s has none of the file systems vfat, exfat, ext4 and iso9660", device)
}

// mountDetached mounts a device read-only, at no path. It is unmounted when the file and all that were opened by it are
// closed.
func mountDetached(device string) (*os.File, error) {
	t, err := typeOf(device)
	if err != nil {
		return nil, err
	}
	file, err := mountAs(device, t)
	if err != nil {
		err = fmt.Errorf("mount %s as %s: %w", device, t.name, err)
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: it is in use; where it is mounted, name the path of the folder there", err)
	case errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("%w: this machine's kernel doesn't know the file system", err)
	}
	return file, err
}

func mountAs(device string, t volumeType) (*os.File, error) {
	opened, err := unix.Fsopen(t.name, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(opened) //nolint:errcheck // nothing was written
	if err := unix.FsconfigSetString(opened, "source", device); err != nil {
		return nil, err
	}
	for _, flag := range append([]string{"ro"}, t.options...) {
		if err := unix.FsconfigSetFlag(opened, flag); err != nil {
			return nil, err
		}
	}
	if err := unix.FsconfigCreate(opened); err != nil {
		return nil, err
	}
	fd, err := unix.Fsmount(opened, unix.FSMOUNT_CLOEXEC,
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), device), nil
}
