// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/grub"
	"github.com/skerry-os/skerry/daemon/slot"
)

// A disk starts by either firmware, whatever the machine that it is installed on has. For a BIOS it needs GRUB on the first
// partition, the code in the first sector that loads it, and GRUB's folder on the EFI system partition.
const (
	biosDefinition = "05-bios.conf"
	biosPartition  = `[Partition]
Type=21686148-6449-6e6f-744e-656564454649
Label=skerry-bios
SizeMinBytes=1M
SizeMaxBytes=1M
`
	// biosPartitionAt is where the first partition is, in bytes: both files of the image have it written into them.
	biosPartitionAt = 1 << 20
	// The files of the image (image/build/bios.go).
	bootCodeFile = "boot.img"
	grubFile     = "core.img"
)

func biosFolder(architecture string) string {
	if architecture != "amd64" {
		return ""
	}
	return "/usr/lib/skerry/bios"
}

// stagedESP is a folder with what the EFI system partition gets beside what is on the medium's.
func (i *Installer) stagedESP() string { return filepath.Join(i.Dir, "esp-more") }

// defineBIOS writes the definition of GRUB's partition. It is not among the image's: a machine whose disk has none must not
// look for space for it.
func (i *Installer) defineBIOS(esp string) error {
	if i.BIOS == "" {
		return nil
	}
	text := biosPartition + "CopyBlocks=" + filepath.Join(i.BIOS, grubFile) + "\n"
	if err := atomicfile.Write(filepath.Join(i.definitions(), biosDefinition), []byte(text), 0o600); err != nil {
		return err
	}
	if err := grub.Create(i.stagedESP(), esp, true); err != nil {
		return fmt.Errorf("make what GRUB starts: %w", err)
	}
	return nil
}

// espLines have GRUB's folder be the one made here.
func (i *Installer) espLines(esp string) []string {
	if i.BIOS == "" {
		return nil
	}
	return []string{
		"ExcludeFiles=" + filepath.Join(esp, slot.GRUBDir),
		"CopyFiles=" + filepath.Join(i.stagedESP(), slot.GRUBDir) + ":/" + slot.GRUBDir,
	}
}

// writeBootCode writes the code of the first sector. systemd-repart has emptied it; a power cut before this leaves a disk that
// starts by UEFI only.
func (i *Installer) writeBootCode(disk string) error {
	if i.BIOS == "" {
		return nil
	}
	code, err := os.ReadFile(filepath.Join(i.BIOS, bootCodeFile))
	if err != nil {
		return err
	}
	file, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(code, 0)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write what a BIOS starts to %s: %w", disk, err)
	}
	return nil
}

// verifyBIOS reads back what a BIOS starts, from the first sector on.
func (i *Installer) verifyBIOS(disk, esp string) error {
	if i.BIOS == "" {
		return nil
	}
	file, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, part := range []struct {
		name string
		at   int64
	}{{bootCodeFile, 0}, {grubFile, biosPartitionAt}} {
		want, err := os.ReadFile(filepath.Join(i.BIOS, part.name))
		if err != nil {
			return err
		}
		got := make([]byte, len(want))
		if _, err := file.ReadAt(got, part.at); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("byte %d and what follows, which a BIOS starts, is not as it was written", part.at)
		}
	}
	return i.reading(esp, "esp", "vfat", func(dir string) error {
		files, err := os.ReadDir(filepath.Join(i.stagedESP(), slot.GRUBDir))
		if err != nil {
			return err
		}
		for _, name := range files {
			path := filepath.Join(slot.GRUBDir, name.Name())
			if err := sameFile(filepath.Join(i.stagedESP(), path), filepath.Join(dir, path)); err != nil {
				return err
			}
		}
		return nil
	})
}
