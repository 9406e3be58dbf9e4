// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

const (
	// volumeSize is large enough to be FAT32 and nothing else, and not 64 MiB: where the clusters' entries fill the last
	// sector of the table, go-diskfs makes the table two entries short, and Linux refuses it. The file is sparse.
	volumeSize = 40 << 20
	// discSize is that of a disc before its file system is finished, which cuts it.
	discSize   = 4 << 20
	discSector = 2048 // of every CD
)

// Volume makes a vfat volume with a label, in the lab's folder, and returns its path. Files may be in folders:
// "openstack/latest/user_data". A volume of the same name is replaced, for which no machine that has it may be on.
func (l *Lab) Volume(name, label string, files map[string][]byte) (string, error) {
	to := filepath.Join(l.cfg.Dir, name+".img")
	return to, writeVolume(to, label, files)
}

// Disc makes an ISO 9660 disc with a label, as Volume makes a volume.
func (l *Lab) Disc(name, label string, files map[string][]byte) (string, error) {
	to := filepath.Join(l.cfg.Dir, name+".iso")
	return to, writeDisc(to, label, files)
}

// SetDisks puts other raw images into the place of MachineConfig.Disks. A running machine sees them at its next power-on.
func (m *Machine) SetDisks(paths ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg.Disks = paths
}

func writeVolume(to, label string, files map[string][]byte) error {
	return writeFileSystem(to, volumeSize, disk.FilesystemSpec{FSType: filesystem.TypeFat32, VolumeLabel: label}, files)
}

// writeDisc has Rock Ridge's names, as every tool gives a disc: those of plain ISO 9660 have no hyphens.
func writeDisc(to, label string, files map[string][]byte) error {
	return writeFileSystem(to, discSize, disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: label}, files)
}

// writeFileSystem makes a file system without partition table, in a file of its own.
func writeFileSystem(to string, size int64, spec disk.FilesystemSpec, files map[string][]byte) (err error) {
	if err := os.Remove(to); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("volume: %w", err)
	}
	d, err := diskfs.Create(to, size, diskfs.SectorSizeDefault)
	if err != nil {
		return fmt.Errorf("volume %s: %w", to, err)
	}
	defer func() {
		if cerr := d.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("volume %s: %w", to, cerr)
		}
	}()
	if spec.FSType == filesystem.TypeISO9660 {
		d.LogicalBlocksize = discSector
	}
	fs, err := d.CreateFilesystem(spec)
	if err != nil {
		return fmt.Errorf("volume %s: %w", to, err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeInto(fs, "/"+name, files[name]); err != nil {
			return fmt.Errorf("volume %s: write %s: %w", to, name, err)
		}
	}
	if disc, ok := fs.(*iso9660.FileSystem); ok {
		if err := disc.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: spec.VolumeLabel}); err != nil {
			return fmt.Errorf("volume %s: %w", to, err)
		}
		return nil
	}
	return fs.Close()
}

func writeInto(fs filesystem.FileSystem, name string, content []byte) error {
	if dir := path.Dir(name); dir != "/" {
		if err := fs.Mkdir(dir); err != nil {
			return err
		}
	}
	f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Close()
}
