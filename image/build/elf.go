// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// libraryDirs are where the dynamic linker finds libraries in the root: the second is the RUNPATH of
// systemd's programs.
func (a architecture) libraryDirs() []string {
	return []string{"usr/lib/" + a.triplet, "usr/lib/" + a.triplet + "/systemd"}
}

// neededBy lists the files a program or library in root needs to be loaded: its interpreter and
// libraries, which are in dirs. Files that are not ELF need nothing.
func neededBy(root *os.Root, dirs []string, file string) ([]string, error) {
	f, err := root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if notELF := (*elf.FormatError)(nil); errors.As(err, &notELF) || errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer e.Close()
	var needed []string
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			interp, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, fmt.Errorf("%s: interpreter: %w", file, err)
			}
			needed = append(needed, strings.Trim(string(interp), "/\x00"))
		}
	}
	libs, err := e.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("%s: libraries: %w", file, err)
	}
	for _, lib := range libs {
		found, err := findLibrary(root, dirs, lib)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		needed = append(needed, found)
	}
	return needed, nil
}

func findLibrary(root *os.Root, dirs []string, name string) (string, error) {
	for _, dir := range dirs {
		p := path.Join(dir, name)
		if _, err := root.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("library %s is not in the root", name)
}
