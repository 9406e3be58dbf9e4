// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A goProgram is one that was compiled by Go, with the modules that are linked into it.
type goProgram struct {
	path   string // in the image; of one in a container image: the archive's, a colon, its own
	sha256 string // lower-case hexadecimal
	info   *buildinfo.BuildInfo
}

const elfMagic = "\x7fELF"

// findPrograms looks for programs in a folder, and in the container images there.
func findPrograms(tree string) ([]goProgram, error) {
	var found []goProgram
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		inImage := "/" + filepath.ToSlash(rel)
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		if filepath.Ext(path) == ".tar" {
			more, err := programsInArchive(file, inImage)
			found = append(found, more...)
			return err
		}
		magic := make([]byte, len(elfMagic))
		if _, err := file.ReadAt(magic, 0); err != nil || string(magic) != elfMagic {
			return nil // a script, or shorter than any program
		}
		program, err := readProgram(file, inImage)
		if err != nil {
			// All that is laid over the packages is ours, and of Go: a program left out would be missing from the list for ever.
			return err
		}
		found = append(found, program)
		return nil
	})
	return found, err
}

func readProgram(file interface {
	io.Reader
	io.ReaderAt
}, path string) (goProgram, error) {
	info, err := buildinfo.Read(file)
	if err != nil {
		return goProgram{}, fmt.Errorf("modules of %s: %w", path, err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return goProgram{}, fmt.Errorf("hash of %s: %w", path, err)
	}
	return goProgram{path, hex.EncodeToString(sum.Sum(nil)), info}, nil
}

// programsInArchive looks into an archive, and the archives in it: a container image is one of layers, which are archives.
func programsInArchive(archive io.Reader, name string) ([]goProgram, error) {
	const ustar, ustarAt = "ustar", 257
	var found []goProgram
	in := tar.NewReader(archive)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, header.Name, err)
		}
		switch {
		case len(data) > ustarAt+len(ustar) && string(data[ustarAt:ustarAt+len(ustar)]) == ustar:
			more, err := programsInArchive(bytes.NewReader(data), name)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		case bytes.HasPrefix(data, []byte{0x1f, 0x8b}) || bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
			return nil, fmt.Errorf("%s: %s is compressed: programs in it would not be found", name, header.Name)
		case bytes.HasPrefix(data, []byte(elfMagic)):
			program, err := readProgram(bytes.NewReader(data), name+":/"+strings.TrimPrefix(header.Name, "/"))
			// The others are of Debian's packages, which image/versions.env names.
			if err == nil {
				found = append(found, program)
			}
		}
	}
}

var errNoPrograms = errors.New("no programs are in the image: the build was given no -tree")
