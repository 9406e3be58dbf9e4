// SPDX-License-Identifier: Apache-2.0

// Package slot tells which versions of the system are on this machine's disk, which of them runs, and which has proven
// itself.
//
// A slot is a root partition, the partition of its hash tree, and the unified kernel image (UKI) on the EFI system
// partition that boots them. They are found by the root hash: it is in the UKI's command line, and the UUIDs of the two
// partitions are its halves. What systemd-boot counts is in the UKI's name. The package reads, and changes names of UKIs;
// it writes no slot.
package slot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Where a running machine has things.
const (
	// ESPDir is where the EFI system partition is mounted when it is looked at.
	ESPDir = "/efi"
	// UKIDir has the UKIs, below ESPDir.
	UKIDir          = "EFI/Linux"
	commandLineFile = "/proc/cmdline"
	osReleaseFile   = "/usr/lib/os-release"
)

// State says how far a slot has come. The values are part of `skerry upgrade status -o json`.
type State string

// The states of a slot. systemd-boot counts a trial down by one at each attempt:
//
//	empty ──install──▶ trial ──bless──▶ proven
//	  ▲                  │ no attempt left, or not Ready in time
//	  └───install anew── failed
const (
	// Empty is a slot that nothing boots.
	Empty State = "empty"
	// Trial is a slot with attempts left.
	Trial State = "trial"
	// Proven is a slot whose boots aren't counted: what came with the disk, or was blessed.
	Proven State = "proven"
	// Failed is a slot without an attempt left. systemd-boot takes it when there is no other.
	Failed State = "failed"
)

// Slot is one version of the system.
type Slot struct {
	Version  string `json:"version,omitempty" yaml:"version,omitempty"`
	State    State  `json:"state" yaml:"state"`
	Running  bool   `json:"running,omitempty" yaml:"running,omitempty"`
	RootHash string `json:"roothash,omitempty" yaml:"roothash,omitempty"`
	// Root and Verity are the partitions.
	Root   Partition `json:"root" yaml:"root"`
	Verity Partition `json:"verity" yaml:"verity"`
	// UKI boots it, nil where none does.
	UKI *UKI `json:"uki,omitempty" yaml:"uki,omitempty"`
}

// Slots are those of the disk that this machine runs from.
type Slots struct {
	Disk    string `json:"disk" yaml:"disk"`       // the whole disk's device
	Version string `json:"version" yaml:"version"` // of what runs
	All     []Slot `json:"slots" yaml:"slots"`     // in the order of the disk
}

// ErrNotBooted is for a system that was not booted from a slot, such as one in a container.
var ErrNotBooted = errors.New("this system was not booted from a slot: the kernel's command line has no roothash=")

// Running is the slot that was booted, and Other the one that wasn't; nil where there is none.
func (s *Slots) Running() *Slot { return s.find(true) }

// Other is the slot that an upgrade may write.
func (s *Slots) Other() *Slot { return s.find(false) }

func (s *Slots) find(running bool) *Slot {
	for i := range s.All {
		if s.All[i].Running == running {
			return &s.All[i]
		}
	}
	return nil
}

// Reader reads slots. The zero value reads those of this machine.
type Reader struct {
	// Root is put before all paths, in tests.
	Root string
	// Lsblk returns what lsblk(8) says as JSON; nil runs it.
	Lsblk func(ctx context.Context) ([]byte, error)
}

// RunningRootHash is what the kernel was booted with.
func (r Reader) RunningRootHash() (string, error) {
	text, err := os.ReadFile(r.Root + commandLineFile)
	if err != nil {
		return "", err
	}
	if hash := rootHashOf(string(text)); hash != "" {
		return hash, nil
	}
	return "", ErrNotBooted
}

// DefaultProfile is that of an image that doesn't say its profile, as all were of one before there were others.
const DefaultProfile = "cloud"

// Version is that of the image that runs, as its os-release has it.
func (r Reader) Version() (string, error) {
	version, err := r.osRelease("IMAGE_VERSION")
	if err == nil && version == "" {
		err = fmt.Errorf("%s has no IMAGE_VERSION", osReleaseFile)
	}
	return version, err
}

// Profile is the kind of machine that the image that runs is for: "cloud", "metal".
func (r Reader) Profile() (string, error) {
	profile, err := r.osRelease("VARIANT_ID")
	return cmp.Or(profile, DefaultProfile), err
}

// osRelease is a value of os-release(5), empty where it isn't there.
func (r Reader) osRelease(key string) (string, error) {
	text, err := os.ReadFile(r.Root + osReleaseFile)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.Trim(strings.TrimSpace(value), `"'`), nil
		}
	}
	return "", nil
}

// Read finds the slots of the disk that this machine runs from.
func (r Reader) Read(ctx context.Context) (*Slots, error) {
	hash, err := r.RunningRootHash()
	if err != nil {
		return nil, err
	}
	version, err := r.Version()
	if err != nil {
		return nil, err
	}
	disk, err := r.disk(ctx, hash)
	if err != nil {
		return nil, err
	}
	ukis, err := r.UKIs()
	if err != nil {
		return nil, err
	}
	s := &Slots{Disk: disk.Path, Version: version}
	for i, root := range disk.roots {
		slot := Slot{State: Empty, Root: root, Verity: disk.verities[i]}
		for _, uki := range ukis {
			if rootUUID, verityUUID := UUIDs(uki.RootHash); rootUUID == root.UUID && verityUUID == slot.Verity.UUID &&
				(slot.UKI == nil || better(uki, *slot.UKI)) {
				slot.UKI = &uki
			}
		}
		if rootUUID, _ := UUIDs(hash); rootUUID == root.UUID {
			slot.Running, slot.RootHash, slot.Version = true, hash, version
		}
		if slot.UKI != nil {
			slot.Version, slot.RootHash, slot.State = cmp.Or(slot.Version, slot.UKI.Version), slot.UKI.RootHash, slot.UKI.state()
		}
		s.All = append(s.All, slot)
	}
	if s.Running() == nil {
		return nil, fmt.Errorf("none of the root partitions of %s is the one that runs", disk.Path)
	}
	return s, nil
}

// Versions are those that the slots have.
func (r Reader) Versions(ctx context.Context) ([]string, error) {
	slots, err := r.Read(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range slots.All {
		if s.Version != "" {
			all = append(all, s.Version)
		}
	}
	return all, nil
}

// better says which of two UKIs of one slot counts: the one that systemd-boot would rather boot.
func better(a, b UKI) bool {
	rank := func(u UKI) int { return slices.Index([]State{Failed, Trial, Proven}, u.state()) }
	return rank(a) > rank(b)
}

// UUIDs are those of a root and its hash tree: the two halves of the root hash, by which systemd-veritysetup-generator
// finds them. They are empty for what is no root hash.
func UUIDs(rootHash string) (root, verity string) {
	if !isRootHash(rootHash) {
		return "", ""
	}
	dashed := func(h string) string {
		return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	}
	return dashed(rootHash[:32]), dashed(rootHash[32:])
}

// isRootHash says whether a text is a SHA-256 in hexadecimal, in small letters.
func isRootHash(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// rootHashOf looks for roothash= in a kernel's command line.
func rootHashOf(commandLine string) string {
	for word := range strings.FieldsSeq(commandLine) {
		if hash, ok := strings.CutPrefix(word, "roothash="); ok && isRootHash(hash) {
			return hash
		}
	}
	return ""
}
