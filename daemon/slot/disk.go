// SPDX-License-Identifier: Apache-2.0

package slot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Partition is one of a slot's partitions.
type Partition struct {
	Path  string `json:"path" yaml:"path"`   // of its device
	Label string `json:"label" yaml:"label"` // "skerry_VERSION", or "_empty"
	UUID  string `json:"uuid" yaml:"uuid"`   // in small letters
	Size  int64  `json:"size" yaml:"size"`   // bytes
}

// EmptyLabel is that of a partition that systemd-sysupdate may write to.
const EmptyLabel = "_empty"

// Label is that of the partitions of a version.
func Label(version string) string { return "skerry_" + version }

// The types of the partitions (Discoverable Partitions Specification), by architecture.
var (
	rootTypes   = []string{"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "b921b045-1df0-41c3-af44-4c6f280d3fae"}
	verityTypes = []string{"2c7357ed-ebd2-46d9-aec1-23d437ec2bf5", "df3300ce-d69f-4c92-978c-9bfb0f38d820"}
)

// blockDevice is what lsblk(8) says of a device. Values that it doesn't know are null.
type blockDevice struct {
	Path     string        `json:"path"`
	Type     string        `json:"type"`
	UUID     string        `json:"partuuid"`
	Label    string        `json:"partlabel"`
	PartType string        `json:"parttype"`
	Size     int64         `json:"size"`
	Mounted  []string      `json:"mountpoints"`
	Children []blockDevice `json:"children"`
}

// disk is a disk with the partitions of its slots, each root with its hash tree.
type disk struct {
	Path            string
	roots, verities []Partition
}

// lsblk asks for all block devices as a tree, once udev has looked at those that were just changed.
func lsblk(ctx context.Context) ([]byte, error) {
	if out, err := exec.CommandContext(ctx, "udevadm", "settle", "--timeout=30").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("wait for udev: %w: %s", err, strings.TrimSpace(string(out)))
	}
	cmd := exec.CommandContext(ctx, "lsblk", "--json", "--bytes", "--tree",
		"--output", "PATH,TYPE,PARTUUID,PARTLABEL,PARTTYPE,SIZE,MOUNTPOINTS")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("list the disks: %w", err)
	}
	return out, nil
}

// disk finds the disk whose root is mounted on /. A copy of that disk beside it has the same UUIDs.
func (r Reader) disk(ctx context.Context, rootHash string) (*disk, error) {
	ask := r.Lsblk
	if ask == nil {
		ask = lsblk
	}
	out, err := ask(ctx)
	if err != nil {
		return nil, err
	}
	var listed struct {
		Devices []blockDevice `json:"blockdevices"`
	}
	if err := json.Unmarshal(out, &listed); err != nil {
		return nil, fmt.Errorf("read what lsblk says: %w", err)
	}
	running, _ := UUIDs(rootHash)
	for _, device := range listed.Devices {
		if !slices.ContainsFunc(device.Children, func(p blockDevice) bool { return p.UUID == running && p.mounts("/") }) {
			continue
		}
		return slotsOf(device)
	}
	return nil, fmt.Errorf("no disk has the partition %s with the root that runs", running)
}

// slotsOf pairs the roots of a disk with the hash trees, by their order on it.
func slotsOf(device blockDevice) (*disk, error) {
	d := &disk{Path: device.Path}
	for _, child := range device.Children {
		p := Partition{Path: child.Path, Label: child.Label, UUID: child.UUID, Size: child.Size}
		switch {
		case slices.Contains(rootTypes, child.PartType):
			d.roots = append(d.roots, p)
		case slices.Contains(verityTypes, child.PartType):
			d.verities = append(d.verities, p)
		}
	}
	if len(d.roots) != len(d.verities) {
		return nil, fmt.Errorf("%s has %d root partitions and %d of hash trees: each root needs one", d.Path, len(d.roots), len(d.verities))
	}
	return d, nil
}

// mounts says whether the device, or one that is made of it, is mounted on a path.
func (b blockDevice) mounts(path string) bool {
	return slices.Contains(b.Mounted, path) ||
		slices.ContainsFunc(b.Children, func(child blockDevice) bool { return child.mounts(path) })
}
