// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"debug/pe"
	"errors"
	"fmt"
	"strings"
)

// sector is the unit of GRUB's block lists, in bytes. The sections of a UKI begin at multiples of it (FileAlignment).
const sector = 512

// extent is where something is in a file, in sectors.
type extent struct{ first, count uint32 }

// String is the extent as a block list of GRUB's.
func (e extent) String() string { return fmt.Sprintf("%d+%d", e.first, e.count) }

// image is what a UKI is made of.
type image struct {
	linux, initrd extent
	cmdline       string
	profiles      []profile // that can be chosen beside what is started when nothing is
}

// profile is another entry of the boot menu.
type profile struct{ title, cmdline string }

// readUKI takes a UKI apart. The sections of each profile follow one that is called .profile (UAPI Group's Unified Kernel Image
// Specification); the first profile is what is started when nothing is chosen.
func readUKI(path string) (i image, err error) {
	file, err := pe.Open(path)
	if err != nil {
		return i, fmt.Errorf("read %s: %w", path, err)
	}
	defer file.Close()
	profiles := 0
	for _, s := range file.Sections {
		switch s.Name {
		case ".linux":
			i.linux, err = extentOf(s)
		case ".initrd":
			i.initrd, err = extentOf(s)
		case ".profile":
			var text string
			text, err = textOf(s)
			if profiles++; profiles > 1 {
				i.profiles = append(i.profiles, profile{title: titleOf(text), cmdline: i.cmdline})
			}
		case ".cmdline":
			var text string
			text, err = textOf(s)
			if n := len(i.profiles); n > 0 {
				i.profiles[n-1].cmdline = text
			} else {
				i.cmdline = text
			}
		}
		if err != nil {
			return i, fmt.Errorf("read %s: %s: %w", path, s.Name, err)
		}
	}
	if i.linux.count == 0 || i.initrd.count == 0 || i.cmdline == "" {
		return i, fmt.Errorf("read %s: it has no kernel, initrd or command line", path)
	}
	return i, nil
}

// extentOf is where the content of a section is. It is filled up with zeros, which kernel and initrd may end with.
func extentOf(s *pe.Section) (extent, error) {
	if s.Offset%sector != 0 {
		return extent{}, errors.New("it doesn't begin at a multiple of 512 bytes")
	}
	size := (s.VirtualSize + sector - 1) / sector
	if s.VirtualSize == 0 || s.Size/sector < size {
		return extent{}, fmt.Errorf("%d bytes of it are in the file, of %d", s.Size, s.VirtualSize)
	}
	return extent{s.Offset / sector, size}, nil
}

func textOf(s *pe.Section) (string, error) {
	data, err := s.Data()
	if err != nil {
		return "", err
	}
	if int(s.VirtualSize) < len(data) {
		data = data[:s.VirtualSize]
	}
	return strings.TrimRight(string(data), "\x00"), nil
}

// titleOf reads the title of a profile, which has the form of os-release(5).
func titleOf(text string) string {
	title := ""
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if value = strings.Trim(value, `"'`); key == "TITLE" || key == "ID" && title == "" {
			title = value
		}
	}
	return title
}
