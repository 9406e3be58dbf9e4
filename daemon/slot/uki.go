// SPDX-License-Identifier: Apache-2.0

package slot

import (
	"debug/pe"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// UKI is a unified kernel image on the EFI system partition.
type UKI struct {
	File     string `json:"file" yaml:"file"` // its name in UKIDir
	Version  string `json:"version" yaml:"version"`
	RootHash string `json:"-" yaml:"-"` // that it boots; empty where it can't be read
	// Left and Done are the attempts that systemd-boot counts; nil where it doesn't.
	Left *int `json:"left,omitempty" yaml:"left,omitempty"`
	Done int  `json:"done,omitempty" yaml:"done,omitempty"`
}

// ukiName is skerry_VERSION+LEFT-DONE.efi, in which what begins with + is there while boots are counted
// (systemd's Automatic Boot Assessment).
var ukiName = regexp.MustCompile(`^skerry_([0-9A-Za-z][0-9A-Za-z.~^-]*?)(?:\+([0-9]{1,4})(?:-([0-9]{1,4}))?)?\.efi$`)

// versionForm leaves out what separates a version from the rest of a name.
var versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.~^-]{0,63}$`)

// IsVersion says whether a text can be the version of a slot: it is a part of names of files and partitions. A partition's
// label has 36 characters, 7 of which are "skerry_".
func IsVersion(text string) bool { return versionForm.MatchString(text) && len(text) <= 29 }

// ParseUKIName takes a UKI's name apart; it is false for one that isn't ours.
func ParseUKIName(name string) (UKI, bool) {
	parts := ukiName.FindStringSubmatch(name)
	if parts == nil {
		return UKI{}, false
	}
	u := UKI{File: name, Version: parts[1]}
	if parts[2] != "" {
		left, _ := strconv.Atoi(parts[2]) // up to four digits
		u.Left = &left
	}
	if parts[3] != "" {
		u.Done, _ = strconv.Atoi(parts[3])
	}
	return u, true
}

// Name is what a UKI of this version and these attempts is called.
func (u UKI) Name() string {
	switch {
	case u.Left == nil:
		return fmt.Sprintf("skerry_%s.efi", u.Version)
	case u.Done == 0:
		return fmt.Sprintf("skerry_%s+%d.efi", u.Version, *u.Left)
	}
	return fmt.Sprintf("skerry_%s+%d-%d.efi", u.Version, *u.Left, u.Done)
}

func (u UKI) state() State {
	switch {
	case u.Left == nil:
		return Proven
	case *u.Left == 0:
		return Failed
	}
	return Trial
}

// UKIs are those on the EFI system partition, with what GRUB has counted. It is mounted when it is first looked at.
func (r Reader) UKIs() ([]UKI, error) {
	dir := r.ukiDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look at the EFI system partition: %w", err)
	}
	var all []UKI
	for _, entry := range entries {
		u, ok := ParseUKIName(entry.Name())
		if !ok {
			continue
		}
		// One that was half written when the power was cut boots nothing, and is none of a slot.
		if u.RootHash, err = ukiRootHash(filepath.Join(dir, entry.Name())); err != nil {
			u.RootHash = ""
		}
		all = append(all, u)
	}
	r.carry(all)
	return all, nil
}

func (r Reader) ukiDir() string { return filepath.Join(r.Root+ESPDir, UKIDir) }

// ukiRootHash reads the root hash from a UKI's command line.
func ukiRootHash(path string) (string, error) {
	file, err := pe.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	defer file.Close()
	section := file.Section(".cmdline")
	if section == nil {
		return "", fmt.Errorf("%s has no command line", path)
	}
	text, err := section.Data()
	if err != nil {
		return "", fmt.Errorf("read the command line of %s: %w", path, err)
	}
	if size := int(section.VirtualSize); size < len(text) {
		text = text[:size]
	}
	hash := rootHashOf(string(text))
	if hash == "" {
		return "", fmt.Errorf("the command line of %s has no roothash=", path)
	}
	return hash, nil
}

// SetCount gives a UKI another count of attempts; nil ends the counting. It returns the UKI with its new name.
func (r Reader) SetCount(u UKI, left *int) (UKI, error) {
	to := u
	to.Left, to.Done = left, 0
	to.File = to.Name()
	if to.File == u.File {
		return u, nil
	}
	if err := atomicfile.Rename(filepath.Join(r.ukiDir(), u.File), filepath.Join(r.ukiDir(), to.File)); err != nil {
		return u, fmt.Errorf("rename %s to %s: %w", u.File, to.File, err)
	}
	return to, nil
}

// RemoveUKI removes one, so that nothing boots its slot.
func (r Reader) RemoveUKI(u UKI) error {
	err := atomicfile.Remove(filepath.Join(r.ukiDir(), u.File))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", u.File, err)
	}
	return nil
}
