// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// What a BIOS starts of an ISO image: of a CD a file that El Torito's catalog names, and of a disk the code in the first sector,
// which loads another file. Both are GRUB, and go on as that of an installed disk does, with the ESP of the medium.
const (
	isoGRUBOfCD   = "skerry/grub-cd.img"
	isoGRUBOfDisk = "skerry/grub.img"
	// The ESP is the first partition of the medium, as a disk; of a CD it is a file (image/bios/core-cd.cfg).
	isoDiskPrefix = "(,gpt1)/EFI/skerry"
	isoCDPrefix   = "(cd)/skerry"
)

// layISOGRUB makes both files. dir is a folder to work in.
func (b *build) layISOGRUB(ctx context.Context, dir, tree string) error {
	if !b.arch.bios {
		return nil
	}
	cd := append(slices.Clone(grubModules), "iso9660")
	for _, image := range []struct {
		file, format, config, prefix string
		modules                      []string
	}{
		{isoGRUBOfCD, "i386-pc-eltorito", "core-cd.cfg", isoCDPrefix, cd},
		{isoGRUBOfDisk, "i386-pc", "core.cfg", isoDiskPrefix, grubModules},
	} {
		data, err := b.grubImage(ctx, dir, image.format, image.config, image.prefix, image.modules)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, image.file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// startISO writes the code of the first sector, and into GRUB's image where it is.
func (b *build) startISO(iso string, found map[string]isoExtent) error {
	if !b.arch.bios {
		return nil
	}
	extent, ok := found[isoGRUBOfDisk]
	if !ok {
		return fmt.Errorf("xorriso doesn't say where %s is in the ISO image", isoGRUBOfDisk)
	}
	core := make([]byte, extent.bytes)
	file, err := os.Open(iso)
	if err != nil {
		return err
	}
	defer file.Close()
	at := extent.first * isoSector
	if _, err := file.ReadAt(core, at); err != nil {
		return err
	}
	code, placed, err := b.placeGRUB(core, uint64(at/diskSector))
	if err != nil {
		return err
	}
	return writeAt(iso, map[int64][]byte{0: code, at: placed})
}
