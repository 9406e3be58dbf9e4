// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	configschema "github.com/skerry-os/skerry/config-schema"
)

var (
	// ErrInstalled says that Skerry is on a disk that was meant already. A machine whose firmware goes on starting the
	// medium must not lose its node for it.
	ErrInstalled = errors.New("a Skerry is installed already")
	// ErrNoDisk says that no disk fits.
	ErrNoDisk = errors.New("there is no disk to install to")
	// ErrSeveral says that more than one disk fits.
	ErrSeveral = errors.New("several disks could be meant")
	// ErrData says that a disk holds something, and may not be wiped.
	ErrData = errors.New("the disk is not empty")
)

// Choose returns the one disk that a rule means. The error says what is wrong with each that it doesn't mean, and lists
// them with size, model and serial number.
func Choose(rule configschema.Install, disks []Disk) (Disk, error) {
	var fit []Disk
	for _, d := range disks {
		if fits(rule, d) {
			fit = append(fit, d)
		}
	}
	if rule.Device != "" && len(fit) == 0 {
		return Disk{}, fmt.Errorf("%w: skerry.install.device is %s, and there is no such disk\n%s", ErrNoDisk, rule.Device, Table(disks))
	}
	for _, d := range fit {
		if d.Installed {
			return d, fmt.Errorf("%w on %s: take the medium out, or have the firmware start the disk first (to install anew: skerry install --disk %s --wipe)",
				ErrInstalled, d.Path, d.Path)
		}
	}
	usable := slices.DeleteFunc(slices.Clone(fit), func(d Disk) bool { return d.Unusable != "" })
	empty := slices.DeleteFunc(slices.Clone(usable), func(d Disk) bool { return d.Contents != "" })
	candidates := empty
	if rule.Wipe {
		candidates = usable
	}
	switch {
	case len(candidates) == 1:
		return candidates[0], nil
	case len(candidates) > 1:
		return Disk{}, fmt.Errorf("%w: name one with skerry.install.device, or narrow the rule by serial, model, by-id or size\n%s", ErrSeveral, Table(candidates))
	case len(usable) > 0:
		return Disk{}, fmt.Errorf("%w: set skerry.install.wipe to lose what is there\n%s", ErrData, Table(usable))
	case len(fit) > 0:
		return Disk{}, fmt.Errorf("%w: none that fits the rule can be used\n%s", ErrNoDisk, Table(fit))
	case len(disks) > 0:
		return Disk{}, fmt.Errorf("%w: none of these fits the rule\n%s", ErrNoDisk, Table(disks))
	}
	return Disk{}, fmt.Errorf("%w: this system sees none; is it attached, and does its kernel have a driver for it?", ErrNoDisk)
}

// fits says whether a disk is one that a rule means, whatever is on it.
func fits(rule configschema.Install, d Disk) bool {
	if rule.Device != "" {
		return isDevice(rule.Device, d)
	}
	match := func(pattern, text string) bool {
		if pattern == "" {
			return true
		}
		ok, err := path.Match(pattern, strings.ReplaceAll(text, "/", "_")) // a pattern was checked, and * stops at a slash
		return err == nil && ok
	}
	if rule.ByID != "" && !slices.ContainsFunc(d.IDs, func(id string) bool { return match(rule.ByID, id) }) {
		return false
	}
	return match(rule.Serial, d.Serial) && match(rule.Model, d.Model) &&
		d.Bytes >= rule.MinimumSize.Bytes() && (rule.MaximumSize.Bytes() == 0 || d.Bytes <= rule.MaximumSize.Bytes())
}

// isDevice compares a path with a disk: one of its names, or a link that leads to it.
func isDevice(name string, d Disk) bool {
	if name == d.Path || name == d.Name {
		return true
	}
	if id, ok := strings.CutPrefix(name, "/dev/disk/by-id/"); ok {
		return slices.Contains(d.IDs, id)
	}
	target, err := filepath.EvalSymlinks(name)
	return err == nil && target == d.Path
}

// Find returns a disk by a name that a person gives: a path, or the last part of one.
func Find(disks []Disk, name string) (Disk, error) {
	for _, d := range disks {
		if isDevice(name, d) || slices.Contains(d.IDs, name) {
			return d, nil
		}
	}
	return Disk{}, fmt.Errorf("%w: there is none named %q\n%s", ErrNoDisk, name, Table(disks))
}

// Table shows disks to a person.
func Table(disks []Disk) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "  DISK\tSIZE\tMODEL\tSERIAL\tCONTENTS\n")
	for _, d := range disks {
		contents := d.Contents
		switch {
		case d.Installed:
			contents = "Skerry"
		case contents == "":
			contents = "empty"
		}
		if d.Unusable != "" {
			contents += "; " + d.Unusable
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", d.Path, Size(d.Bytes), dash(d.Model), dash(d.Serial), contents)
	}
	w.Flush()
	return strings.TrimRight(b.String(), "\n")
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
