// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/grub"
	"github.com/skerry-os/skerry/daemon/slot"
)

// Offer is what a source has, compared with what runs.
type Offer struct {
	Source  string `json:"source" yaml:"source"`
	Running string `json:"running" yaml:"running"` // the version that runs
	Version string `json:"version" yaml:"version"` // the version that is offered
	Newer   bool   `json:"newer" yaml:"newer"`     // than what runs
	// Kubernetes is the version of it in the offer.
	Kubernetes string `json:"kubernetes" yaml:"kubernetes"`
	Bytes      int64  `json:"bytes" yaml:"bytes"` // to download, at most
	// Versions are those that the source has, the newest first, where it tells. Nobody has signed that.
	Versions []string `json:"versions,omitempty" yaml:"versions,omitempty"`
	// Installed is set where the other slot has it already, and waits for a boot.
	Installed bool `json:"installed,omitempty" yaml:"installed,omitempty"`
	// Failed is why this very version did not prove itself here before.
	Failed string `json:"failed,omitempty" yaml:"failed,omitempty"`
	// NoWayBack is why the version that runs may not read what the offered one will have written. Empty where it does.
	NoWayBack string `json:"noWayBack,omitempty" yaml:"noWayBack,omitempty"`
}

// Choice is what `apply` may do that it otherwise refuses.
type Choice struct {
	// Downgrade allows an older version than the one that runs.
	Downgrade bool
	// WithoutExtensions allows a version that refuses extensions of this machine.
	WithoutExtensions bool
}

// manifest fetches and verifies the manifest of a payload.
func (u *Upgrader) manifest(ctx context.Context, from Source) (*Manifest, error) {
	keys, err := u.trusted()
	if err != nil {
		return nil, err
	}
	profile, err := u.Slots.Profile()
	if err != nil {
		return nil, err
	}
	text, err := readSmall(ctx, from, ManifestFile, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	signature, err := readSmall(ctx, from, SignatureFile, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", from, ErrUnsigned, err)
	}
	m, err := verify(text, signature, keys, profile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return m, nil
}

// Check says what a source offers, and changes nothing.
func (u *Upgrader) Check(ctx context.Context, from Source) (*Offer, error) {
	slots, err := u.Slots.Read(ctx)
	if err != nil {
		return nil, err
	}
	m, err := u.manifest(ctx, from)
	if err != nil {
		return nil, err
	}
	r, err := u.record()
	if err != nil {
		return nil, err
	}
	o := &Offer{Source: from.String(), Running: slots.Version, Version: m.Version, Newer: slot.Compare(m.Version, slots.Version) > 0,
		Kubernetes: m.Kubernetes, Bytes: m.Files.Root.Size + m.Files.Verity.Size + m.Files.UKI.Size}
	o.NoWayBack = u.noWayBack(m)
	if several, ok := from.(interface{ Versions() []string }); ok {
		o.Versions = several.Versions()
	}
	o.Installed = r.Trial != nil && r.Trial.Installed && r.Trial.RootHash == m.RootHash
	if r.Last != nil && r.Last.Result == FellBack && r.Last.Version == m.Version {
		o.Failed = r.Last.Reason
	}
	return o, nil
}

// Apply writes a version to the slot that doesn't run, to be tried at the next boot. It may be interrupted anywhere, and
// done again.
func (u *Upgrader) Apply(ctx context.Context, from Source, may Choice) (*Offer, error) {
	lock, err := u.lock()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	slots, err := u.Slots.Read(ctx)
	if err != nil {
		return nil, err
	}
	r, err := u.record()
	if err != nil {
		u.Log.Warn("what is remembered of upgrades can't be read, and is begun anew", "error", err)
	}
	if trying, err := u.onTrial(r); err != nil {
		return nil, err
	} else if trying {
		return nil, refused("%s runs on trial: wait until it is blessed, or go back with skerry upgrade rollback; an upgrade now would overwrite the version to go back to", slots.Version)
	}
	u.progress("verify the manifest", 0, 0)
	m, err := u.manifest(ctx, from)
	if err != nil {
		return nil, err
	}
	if err := u.admit(slots, m, may); err != nil {
		return nil, err
	}
	if err := u.checkExtensions(ctx, m, may); err != nil {
		return nil, err
	}
	warning := u.noWayBack(m)
	if warning != "" {
		u.Log.Warn(warning)
	}
	offer := &Offer{Source: from.String(), Running: slots.Version, Version: m.Version, Kubernetes: m.Kubernetes,
		Newer: slot.Compare(m.Version, slots.Version) > 0, Installed: true, NoWayBack: warning}
	if offer.Bytes, err = u.stage(ctx, from, m); err != nil {
		return nil, err
	}
	if err := u.write(ctx, slots, r, m); err != nil {
		return nil, err
	}
	return offer, os.RemoveAll(u.path(StagingDir))
}

// admit refuses what doesn't fit this machine, before anything is fetched.
func (u *Upgrader) admit(slots *slot.Slots, m *Manifest, may Choice) error {
	other := slots.Other()
	if other == nil || len(slots.All) != 2 {
		return refused("%s has %d slots, and an upgrade needs two: this disk was not set up by Skerry's own boot", slots.Disk, len(slots.All))
	}
	if err := recognizable(slots); err != nil {
		return err
	}
	running := slots.Running()
	switch order := slot.Compare(m.Version, slots.Version); {
	case m.RootHash == running.RootHash:
		return refused("%s runs already", m.Version)
	case order == 0:
		return refused("the payload is another build of %s, which runs: give it a version of its own", m.Version)
	case order < 0 && !may.Downgrade:
		return refused("%s is older than %s, which runs: what the newer one has written to the cluster's data may be more than it can read. --allow-downgrade does it all the same", m.Version, slots.Version)
	}
	for _, p := range []struct {
		file      File
		partition slot.Partition
		what      string
	}{{m.Files.Root, other.Root, "root file system"}, {m.Files.Verity, other.Verity, "hash tree"}} {
		if p.file.Unpacked.Size > p.partition.Size {
			return refused("the %s of %s has %s, and the slot for it (%s) %s: install it on a disk with larger slots",
				p.what, m.Version, bytesText(p.file.Unpacked.Size), p.partition.Path, bytesText(p.partition.Size))
		}
	}
	return u.checkESPSpace(other, m)
}

// recognizable refuses where systemd-sysupdate, which goes by versions in names, could take the slot that runs for another.
func recognizable(slots *slot.Slots) error {
	running := slots.Running()
	if running.UKI == nil || running.UKI.Version != slots.Version {
		return refused("the kernel of %s, which runs, is not on the EFI system partition under its name, skerry_%s.efi", slots.Version, slots.Version)
	}
	for _, p := range []slot.Partition{running.Root, running.Verity} {
		if want := slot.Label(slots.Version); p.Label != want {
			return refused("%s, which %s runs from, is labelled %q, and should be %q", p.Path, slots.Version, p.Label, want)
		}
	}
	return nil
}

// checkESPSpace counts what the other slot's UKI takes as free: it is removed first.
func (u *Upgrader) checkESPSpace(other *slot.Slot, m *Manifest) error {
	dir := filepath.Join(u.Slots.Root+slot.ESPDir, slot.UKIDir)
	var fsys unix.Statfs_t
	if err := unix.Statfs(dir, &fsys); err != nil {
		return fmt.Errorf("ask for the space at %s: %w", dir, err)
	}
	free := int64(fsys.Bavail) * fsys.Bsize
	if other.UKI != nil {
		info, err := os.Stat(filepath.Join(dir, other.UKI.File))
		if err != nil {
			return err
		}
		free += info.Size()
	}
	const clusters = 1 << 20 // what vfat needs beside the file
	if need := m.Files.UKI.Unpacked.Size + clusters; free < need {
		return refused("the kernel of %s needs %s on the EFI system partition, and %s are free there", m.Version, bytesText(need), bytesText(free))
	}
	return nil
}

// write brings a version that is staged into its slot.
func (u *Upgrader) write(ctx context.Context, slots *slot.Slots, r Record, m *Manifest) error {
	r.Trial = &Trial{Version: m.Version, RootHash: m.RootHash, From: slots.Version, Begun: u.Now().UTC(),
		Deadline: int(u.Trial.Deadline / time.Second), Stable: int(u.Trial.Stable / time.Second)}
	if err := u.remember(r); err != nil {
		return err
	}
	u.progress("write the slot "+slots.Other().Root.Path, 0, 0)
	if err := u.emptySlot(slots); err != nil {
		return err
	}
	// Before the UKI is there: GRUB passes over what it doesn't find, and finds it as soon as systemd-boot does.
	coming := grub.UKI{Version: m.Version, Path: filepath.Join(u.stagingDir(m), stagedKernel(m))}
	if err := grub.Write(u.path(slot.ESPDir), coming); err != nil {
		return err
	}
	if err := u.define(slots, u.stagingDir(m)); err != nil {
		return err
	}
	if err := u.install(ctx, m.Version); err != nil {
		return err
	}
	u.progress("read it back", 0, 0)
	written, err := u.readBack(ctx, m)
	if err != nil {
		return err
	}
	if err := u.prefer(slots, *written.UKI); err != nil {
		return err
	}
	r.Trial.Installed = true
	return u.remember(r)
}

// emptySlot removes all UKIs but that of the version that runs. Nothing boots a slot while it is written.
func (u *Upgrader) emptySlot(slots *slot.Slots) error {
	ukis, err := u.Slots.UKIs()
	if err != nil {
		return err
	}
	for _, uki := range ukis {
		if uki.Version == slots.Version {
			continue
		}
		if err := u.Slots.RemoveUKI(uki); err != nil {
			return err
		}
	}
	return nil
}

// udevPatience is how long udev may take to see what was written to the partition table, and udevPoll how often it is asked.
const (
	udevPatience = 30 * time.Second
	udevPoll     = 200 * time.Millisecond
)

// findWritten finds the slot that a version was written to.
func (u *Upgrader) findWritten(ctx context.Context, m *Manifest) (*slot.Slot, error) {
	unix.Sync()
	for begun := time.Now(); ; {
		slots, err := u.Slots.Read(ctx)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(slots.All, func(s slot.Slot) bool { return s.RootHash == m.RootHash && !s.Running && s.UKI != nil })
		if i >= 0 {
			return &slots.All[i], nil
		}
		if time.Since(begun) > udevPatience {
			return nil, fmt.Errorf("%s was written, and is not in its slot: %+v", m.Version, slots.All)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(udevPoll):
		}
	}
}

// readBack verifies what was written, as the disk has it.
func (u *Upgrader) readBack(ctx context.Context, m *Manifest) (*slot.Slot, error) {
	written, err := u.findWritten(ctx, m)
	if err != nil {
		return nil, err
	}
	uki := filepath.Join(u.Slots.Root+slot.ESPDir, slot.UKIDir, written.UKI.File)
	for _, part := range []struct {
		path string
		want Content
	}{{written.Root.Path, m.Files.Root.Unpacked}, {written.Verity.Path, m.Files.Verity.Unpacked}, {uki, m.Files.UKI.Unpacked}} {
		sum, err := sumOf(part.path, part.want.Size)
		if err == nil && sum != part.want.SHA256 {
			err = fmt.Errorf("what %s has is not what was written to it: the disk may be failing", part.path)
		}
		if err != nil {
			return nil, fmt.Errorf("read the slot back: %w", errors.Join(err, u.Slots.RemoveUKI(*written.UKI)))
		}
	}
	return written, nil
}
