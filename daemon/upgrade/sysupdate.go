// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/daemon/slot"
)

// sysupdate is systemd's program that writes a version to the slot that is free.
const sysupdate = "/usr/lib/systemd/systemd-sysupdate"

// transfer is one thing that systemd-sysupdate writes: a section of a definition, sysupdate.d(5).
type transfer struct{ file, text string }

// transfers are its definitions, in the order in which they come into effect: the UKI last, which makes a slot boot. The
// version that runs is protected. Verify=no, for it knows signatures of GPG's only: what it is given was verified.
func transfers(disk, running, staging string) []transfer {
	common := "[Transfer]\nProtectVersion=" + running + "\nVerify=no\n\n[Source]\nType=regular-file\nPath=" + staging + "\n"
	partition := func(name, kind string) string {
		return common + "MatchPattern=skerry_@v_@u." + name + "\n\n" +
			"[Target]\nType=partition\nPath=" + disk + "\nMatchPattern=skerry_@v\nMatchPartitionType=" + kind + "\nReadOnly=yes\n"
	}
	return []transfer{
		{"10-root.transfer", partition("root", "root")},
		{"20-verity.transfer", partition("verity", "root-verity")},
		{"30-uki.transfer", common + "MatchPattern=skerry_@v.efi\n\n" +
			"[Target]\nType=regular-file\nPath=" + filepath.Join(slot.ESPDir, slot.UKIDir) + "\n" +
			"MatchPattern=skerry_@v+@l-@d.efi skerry_@v+@l.efi skerry_@v.efi\n" +
			fmt.Sprintf("Mode=0444\nTriesLeft=%d\nTriesDone=0\nInstancesMax=2\n", attempts)},
	}
}

// define writes the definitions.
func (u *Upgrader) define(slots *slot.Slots, staging string) error {
	dir := u.path(definitionsDir)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, t := range transfers(slots.Disk, slots.Version, staging) {
		if err := os.WriteFile(filepath.Join(dir, t.file), []byte(t.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// install has systemd-sysupdate write a version that was staged. First it takes away what is in the slot, so that there is
// nothing to choose from; the slot boots nothing any more by then.
func (u *Upgrader) install(ctx context.Context, version string) error {
	for _, args := range [][]string{
		{"--definitions=" + u.path(definitionsDir), "--instances-max=1", "vacuum"},
		{"--definitions=" + u.path(definitionsDir), "--verify=no", "update", version},
	} {
		if err := u.Run(ctx, sysupdate, args...); err != nil {
			return fmt.Errorf("systemd-sysupdate %s: %w", strings.Join(args[1:], " "), err)
		}
	}
	return nil
}
