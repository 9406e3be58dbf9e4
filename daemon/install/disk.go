// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Disk is a disk of this machine. The JSON is that of `skerry install --list -o json`.
type Disk struct {
	// Path of the device, such as /dev/nvme0n1, and its name without the folder.
	Path string `json:"path" yaml:"path"`
	Name string `json:"name" yaml:"name"`
	// Bytes it holds.
	Bytes  int64  `json:"bytes" yaml:"bytes"`
	Model  string `json:"model" yaml:"model"`
	Serial string `json:"serial" yaml:"serial"`
	// IDs are its names below /dev/disk/by-id.
	IDs []string `json:"by-id" yaml:"by-id"`
	// Contents says in words what is on it. Empty when nothing is.
	Contents string `json:"contents" yaml:"contents"`
	// Installed says that Skerry is installed on it, wholly.
	Installed bool `json:"installed" yaml:"installed"`
	// Unusable says in words why nothing can be installed to it, whatever is allowed.
	// Empty when that can be.
	Unusable string `json:"unusable,omitempty" yaml:"unusable,omitempty"`
}

// block is a block device as lsblk(8) has it, with those that are made of it.
type block struct {
	Name        string    `json:"name"`
	Path        string    `json:"path"`
	Type        string    `json:"type"`
	Size        int64     `json:"size"`
	Model       string    `json:"model"`
	Serial      string    `json:"serial"`
	ReadOnly    bool      `json:"ro"`
	PartLabel   string    `json:"partlabel"`
	PartUUID    string    `json:"partuuid"`
	Mountpoints []*string `json:"mountpoints"` // null where there is none
	Children    []block   `json:"children"`
}

const lsblkColumns = "NAME,PATH,TYPE,SIZE,MODEL,SERIAL,RO,PARTLABEL,PARTUUID,MOUNTPOINTS"

// blocks asks for the block devices of this machine, or for those of one disk.
func (i *Installer) blocks(ctx context.Context, disk ...string) ([]block, error) {
	out, err := i.Run(ctx, "/usr/bin/lsblk", append([]string{"--json", "--bytes", "--output=" + lsblkColumns}, disk...)...)
	if err != nil {
		return nil, fmt.Errorf("look for disks: %w", err)
	}
	var answer struct {
		Devices []block `json:"blockdevices"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("look for disks: what lsblk says is not understood: %w", err)
	}
	return answer.Devices, nil
}

// Disks lists the disks of this machine, in the order of their names. What can never be installed to (CD drives, floppies,
// memory, disks of other disks) is left out.
func (i *Installer) Disks(ctx context.Context) ([]Disk, error) {
	devices, err := i.blocks(ctx)
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, b := range devices {
		if b.Type != "disk" || b.Size == 0 || strings.HasPrefix(b.Name, "zram") || strings.HasPrefix(b.Name, "fd") || strings.HasPrefix(b.Name, "nbd") {
			continue
		}
		disk, err := i.disk(ctx, b)
		if err != nil {
			return nil, err
		}
		disks = append(disks, disk)
	}
	slices.SortFunc(disks, func(a, b Disk) int { return strings.Compare(a.Path, b.Path) })
	return disks, nil
}

func (i *Installer) disk(ctx context.Context, b block) (Disk, error) {
	d := Disk{Path: b.Path, Name: b.Name, Bytes: b.Size, Model: strings.TrimSpace(b.Model), Serial: strings.TrimSpace(b.Serial)}
	var err error
	if d.Model == "" {
		if d.Model, err = i.cardName(b.Name); err != nil {
			return d, err
		}
	}
	if d.IDs, err = i.idsOf(b.Path); err != nil {
		return d, err
	}
	labels := map[string]bool{}
	for _, part := range b.Children {
		labels[part.PartLabel] = true
	}
	d.Installed = labels[espLabel] && labels[stateLabel]
	use := inUse(b)
	switch {
	case use == "/":
		d.Unusable = "this system runs from it"
	case use != "":
		d.Unusable = "in use: " + use
	case b.ReadOnly:
		d.Unusable = "read-only"
	case b.Size < MinimumSize:
		d.Unusable = "too small: Skerry needs " + Size(MinimumSize)
	}
	if d.Contents, err = i.contents(ctx, b); err != nil {
		return d, err
	}
	return d, nil
}

// inUse says what a disk is used for: "/" when the running system is on it, "" when nothing is.
func inUse(b block) string {
	use := ""
	var look func(b block)
	look = func(b block) {
		for _, where := range b.Mountpoints {
			switch {
			case where == nil:
			case *where == "/":
				use = "/"
			case use == "":
				use = "mounted on " + *where
			}
		}
		for _, child := range b.Children {
			if child.Type != "part" && use == "" {
				use = fmt.Sprintf("a part of %s (%s)", child.Path, child.Type)
			}
			look(child)
		}
	}
	look(b)
	return use
}

// cardName is what an SD card or an eMMC calls itself, which is no model to lsblk (Linux,
// Documentation/driver-api/mmc/mmc-dev-attrs.rst). It is empty for other disks.
func (i *Installer) cardName(disk string) (string, error) {
	name, err := os.ReadFile(filepath.Join(i.Blocks, disk, "device/name"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the name of %s: %w", disk, err)
	}
	return strings.TrimSpace(string(name)), nil
}

// idsOf returns the names that udev has for a disk.
func (i *Installer) idsOf(device string) ([]string, error) {
	links, err := filepath.Glob(filepath.Join(i.ByID, "*"))
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for _, link := range links {
		target, err := filepath.EvalSymlinks(link)
		if os.IsNotExist(err) {
			continue // of a disk that has just been taken out
		}
		if err != nil {
			return nil, err
		}
		if target == device {
			ids = append(ids, filepath.Base(link))
		}
	}
	return ids, nil
}

// contents looks at what is on a disk now, and not at what udev remembers of it.
func (i *Installer) contents(ctx context.Context, b block) (string, error) {
	out, err := i.Run(ctx, "/usr/sbin/wipefs", "--json", "--no-act", b.Path)
	if err != nil {
		return "", fmt.Errorf("look at what is on %s: %w", b.Path, err)
	}
	if strings.TrimSpace(out) == "" {
		return "", nil
	}
	var answer struct {
		Signatures []struct {
			Type  string `json:"type"`
			Label string `json:"label"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", fmt.Errorf("look at what is on %s: what wipefs says is not understood: %w", b.Path, err)
	}
	var kinds []string
	add := func(text string) {
		if !slices.Contains(kinds, text) {
			kinds = append(kinds, text)
		}
	}
	for _, s := range answer.Signatures {
		switch {
		case s.Type == "gpt" || s.Type == "dos" || s.Type == "PMBR":
			add("partition table")
		case s.Label != "":
			add(fmt.Sprintf("%s %q", s.Type, s.Label))
		default:
			add(s.Type)
		}
	}
	var names []string
	for _, part := range b.Children {
		if part.PartLabel != "" {
			names = append(names, part.PartLabel)
		}
	}
	text := strings.Join(kinds, ", ")
	if len(names) > 0 {
		text += " (" + strings.Join(names, ", ") + ")"
	}
	return text, nil
}

// Size writes a number of bytes for a person, in the units that disks are sold in.
func Size(bytes int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	value, unit := float64(bytes), 0
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	if unit == 0 || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, units[unit])
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
