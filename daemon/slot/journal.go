// SPDX-License-Identifier: Apache-2.0

package slot

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Where the firmware is a BIOS, GRUB starts the kernels (image/bios/grub.cfg). It can't rename a UKI, and counts attempts in a
// file that it writes in place: under which name it has started a UKI, and how often. Here that is brought into the name, as
// systemd-boot does by itself. The rename is what ends it: what is counted is then of a name that no file has.

const (
	// GRUBDir has what GRUB reads and writes, below ESPDir. A disk that starts by UEFI only has none.
	GRUBDir = "EFI/skerry"
	// JournalFile is GRUB's environment block in GRUBDir.
	JournalFile = "grubenv"
	// CountedArgument is what GRUB adds to the command line of a kernel whose attempts it counts.
	CountedArgument = "skerry-counted"
)

// The form of an environment block: this line, lines NAME=VALUE, and # up to its size in bytes (GRUB's manual, "The GRUB
// environment block").
const (
	journalSize = 1024
	journalHead = "# GRUB Environment Block\n"
)

// EmptyJournal is an environment block in which nothing is counted.
func EmptyJournal() []byte {
	return append([]byte(journalHead), bytes.Repeat([]byte("#"), journalSize-len(journalHead))...)
}

// parseJournal returns the attempts by the name of the UKI. It is false for what GRUB would not write to.
func parseJournal(data []byte) (map[string]int, bool) {
	text, ok := strings.CutPrefix(string(data), journalHead)
	if !ok || len(data) != journalSize {
		return nil, false
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok && !strings.HasPrefix(line, "#") {
			values[name] = value
		}
	}
	counted := map[string]int{}
	for name, file := range values {
		index, ok := strings.CutPrefix(name, "file_")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(values["tried_"+index]); err == nil && n > 0 && n < 10000 {
			counted[file] = max(counted[file], n)
		}
	}
	return counted, true
}

// carry brings what GRUB has counted into UKIs and their names. What can't be written is left: GRUB goes on with what it has
// counted itself, and the UKIs returned say how many attempts there are.
func (r Reader) carry(ukis []UKI) {
	path := filepath.Join(r.Root+ESPDir, GRUBDir, JournalFile)
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return // this disk starts by UEFI only
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	counted, ok := parseJournal(data)
	whole := true
	for i, u := range ukis {
		n := counted[u.File]
		if n == 0 || u.Left == nil {
			continue
		}
		left := max(0, *u.Left-n)
		u.Left, u.Done = &left, u.Done+n
		err := atomicfile.Rename(filepath.Join(r.ukiDir(), u.File), filepath.Join(r.ukiDir(), u.Name()))
		if err == nil || errors.Is(err, fs.ErrNotExist) { // somebody else has done it meanwhile
			u.File = u.Name()
		} else {
			whole = false
		}
		ukis[i] = u
	}
	// In a block that is broken GRUB can't count, and starts nothing that is to be counted.
	if whole && (!ok || len(counted) > 0) {
		_ = atomicfile.Write(path, EmptyJournal(), 0o600)
	}
}

// CountedByGRUB says whether GRUB counts this boot.
func (r Reader) CountedByGRUB() bool {
	text, err := os.ReadFile(r.Root + commandLineFile)
	return err == nil && slices.Contains(strings.Fields(string(text)), CountedArgument)
}
