// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/slot"
	"github.com/skerry-os/skerry/daemon/source"
)

// checkName is the device-mapper name of a written root that is being read back.
const checkName = "skerry-install-check"

// partitions are those of an installed disk that are read back.
type partitions struct{ root, verity, esp, state string }

// partitionWait is how long to wait for the files of /dev of new partitions.
const partitionWait = 60 * time.Second

// find waits for the partitions of a disk. udev takes its time, and what it knows of them may be gone again for a moment
// while it looks at a disk that was just written to.
func (i *Installer) find(ctx context.Context, disk Disk) (found partitions, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(i.wait, partitionWait))
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if found, err = i.look(ctx, disk); err == nil {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return partitions{}, errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// look finds the partitions once.
func (i *Installer) look(ctx context.Context, disk Disk) (partitions, error) {
	if _, err := i.Run(ctx, "/usr/bin/udevadm", "settle", "--timeout=30"); err != nil {
		return partitions{}, fmt.Errorf("wait for udev: %w", err)
	}
	devices, err := i.blocks(ctx, disk.Path)
	if err != nil {
		return partitions{}, err
	}
	if len(devices) != 1 {
		return partitions{}, fmt.Errorf("%s is %d disks", disk.Path, len(devices))
	}
	var p partitions
	for _, part := range devices[0].Children {
		switch {
		case strings.EqualFold(part.PartUUID, dashed(i.Medium.RootHash[:32])):
			p.root = part.Path
		case strings.EqualFold(part.PartUUID, dashed(i.Medium.RootHash[32:])):
			p.verity = part.Path
		case part.PartLabel == espLabel:
			p.esp = part.Path
		case part.PartLabel == stateLabel:
			p.state = part.Path
		}
	}
	for _, wanted := range []struct{ what, path string }{
		{"root", p.root}, {"hash tree", p.verity}, {espLabel, p.esp}, {stateLabel, p.state},
	} {
		if wanted.path == "" {
			return partitions{}, fmt.Errorf("it has no %s", wanted.what)
		}
	}
	return p, nil
}

// verify reads back what was written: the root through dm-verity, as each boot does, and all files.
func (i *Installer) verify(ctx context.Context, disk Disk, esp string, document *source.Document, sealed *sealing) error {
	p, err := i.find(ctx, disk)
	if err != nil {
		return err
	}
	if err := i.verifyRoot(ctx, p.root, p.verity); err != nil {
		return err
	}
	i.Tell(Progress{Step: "read the boot loader back"})
	if err := i.reading(p.esp, "esp", "vfat", func(dir string) error { return i.sameFiles(esp, dir) }); err != nil {
		return err
	}
	if err := i.verifyBIOS(disk.Path, p.esp); err != nil {
		return err
	}
	return i.opened(ctx, p.state, sealed, func(device string) error {
		return i.reading(device, "state-read", "ext4", func(dir string) error { return sameDocument(dir, document) })
	})
}

// verifyRoot reads all of the root; the kernel refuses a block that isn't what the hash tree says, or a hash tree that isn't
// the root hash's.
func (i *Installer) verifyRoot(ctx context.Context, root, verity string) (err error) {
	const veritysetup = "/usr/lib/systemd/systemd-veritysetup"
	if _, err := i.Run(ctx, veritysetup, "attach", checkName, root, verity, i.Medium.RootHash); err != nil {
		return fmt.Errorf("open the root: %w", err)
	}
	defer func() {
		_, detaching := i.Run(context.WithoutCancel(ctx), veritysetup, "detach", checkName)
		err = errors.Join(err, detaching)
	}()
	file, err := os.Open("/dev/mapper/" + checkName)
	if err != nil {
		return err
	}
	defer file.Close()
	total, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if total == 0 {
		return errors.New("the root is empty")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	const chunk = 8 << 20
	buffer := make([]byte, chunk)
	for done := int64(0); done < total; {
		i.Tell(Progress{Step: "read the system back", Done: done, Total: total})
		n, err := io.ReadFull(file, buffer[:min(chunk, total-done)])
		if err != nil {
			return fmt.Errorf("read the root at byte %d: %w", done+int64(n), err)
		}
		done += int64(n)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	i.Tell(Progress{Step: "read the system back", Done: total, Total: total})
	return nil
}

// sameFiles compares the files of the medium's EFI system partition with those of the disk's.
func (i *Installer) sameFiles(medium, disk string) error {
	skip := filepath.Join(medium, i.liveAddons())
	found := false
	err := filepath.WalkDir(medium, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.EqualFold(path, skip) || strings.EqualFold(path, filepath.Join(medium, slot.GRUBDir)) {
			return fs.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		relative, err := filepath.Rel(medium, path)
		if err != nil {
			return err
		}
		found = found || strings.EqualFold(filepath.Ext(relative), ".efi")
		return sameFile(path, filepath.Join(disk, relative))
	})
	if err == nil && !found {
		err = errors.New("the medium has no boot loader")
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(disk, i.liveAddons())); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, errors.New("it would boot a live system"))
	}
	return nil
}

func sameFile(one, other string) error {
	want, err := os.ReadFile(one)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(other)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("%s is not as it was written", other)
	}
	return nil
}

func sameDocument(dir string, want *source.Document) error {
	got, err := (&source.State{Dir: dir}).Fetch(context.Background())
	switch {
	case want == nil && errors.Is(err, source.ErrAbsent):
		return nil
	case err != nil:
		return fmt.Errorf("the cloud-config: %w", err)
	case want == nil || !bytes.Equal(got.UserData, want.UserData) || !bytes.Equal(got.MetaData, want.MetaData) ||
		!bytes.Equal(got.NetworkConfig, want.NetworkConfig):
		return errors.New("the cloud-config is not as it was written")
	}
	return nil
}

// mount mounts a device read-only in a folder of its own.
func (i *Installer) mount(device, name, fstype string) (dir string, unmount func() error, err error) {
	dir = filepath.Join(i.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(device, dir, fstype, flags, ""); err != nil {
		return "", nil, fmt.Errorf("mount %s: %w", device, err)
	}
	return dir, func() error {
		if err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", device, err)
		}
		return nil
	}, nil
}

// reading mounts a device for as long as a function reads it.
func (i *Installer) reading(device, name, fstype string, read func(dir string) error) (err error) {
	dir, unmount, err := i.mount(device, name, fstype)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return read(dir)
}
