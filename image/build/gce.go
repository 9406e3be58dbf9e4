// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
)

const (
	gceFile = "disk.tar.gz"
	// gceDisk is the name that GCE asks for.
	gceDisk = "disk.raw"
)

// makeGCE makes disk.tar.gz, which GCE makes images of: a disk of a whole number of GiB in an archive of GNU's old format.
func makeGCE(ctx context.Context, b *build, dir string) error {
	if err := b.growDisk(ctx, dir, 0); err != nil {
		return err
	}
	when, err := b.time()
	if err != nil {
		return err
	}
	archive, disk := filepath.Join(dir, gceFile), filepath.Join(dir, grownDisk)
	hash, err := packGCE(archive, disk, when)
	if err != nil {
		return err
	}
	if err := checkGCE(archive, hash); err != nil {
		return fmt.Errorf("%s: %w", gceFile, err)
	}
	return os.Remove(disk)
}

// packGCE writes the archive of a disk, and returns the disk's SHA-256 in hexadecimal.
func packGCE(archive, disk string, when time.Time) (string, error) {
	from, err := os.Open(disk)
	if err != nil {
		return "", err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return "", err
	}
	to, err := os.Create(archive)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	packed := gzip.NewWriter(to)
	out := tar.NewWriter(packed)
	err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: gceDisk, Size: info.Size(), Mode: 0o644,
		ModTime: when, Format: tar.FormatGNU})
	if err == nil {
		_, err = io.Copy(out, io.TeeReader(from, sum))
	}
	if err := errors.Join(err, out.Close(), packed.Close(), to.Close()); err != nil {
		return "", fmt.Errorf("pack %s: %w", disk, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// checkGCE reads an archive back: it has the disk with that hash, and nothing else.
func checkGCE(archive, hash string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	in := tar.NewReader(unpacked)
	header, err := in.Next()
	if err != nil {
		return err
	}
	if header.Name != gceDisk || header.Format != tar.FormatGNU {
		return fmt.Errorf("the first file is %s in format %s, want %s in %s", header.Name, header.Format, gceDisk, tar.FormatGNU)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != hash {
		return fmt.Errorf("%s reads back with the hash %s, want %s", gceDisk, got, hash)
	}
	switch header, err := in.Next(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("what follows %s: %w", gceDisk, err)
	default:
		return fmt.Errorf("%s follows %s", header.Name, gceDisk)
	}
}
