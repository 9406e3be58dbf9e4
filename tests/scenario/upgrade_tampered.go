// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/tests/payload"
	"github.com/skerry-os/skerry/tests/vm"
)

// exitRefused is the code of what changed nothing.
const exitRefused = 6

var upgradeTampered = Scenario{
	Name:   "upgrade-tampered",
	Suite:  SuiteAll,
	Shows:  "a payload that is unsigned, signed by a stranger, or has one changed byte changes nothing on the machine, which says what is wrong with it",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		var m *vm.Machine
		var before string
		return t.Steps(
			step{"build the next version, and spoil it in several ways", func() error { return u.spoil(ctx) }},
			step{"boot a machine", func() (err error) {
				if m, err = u.bootPayloadAgent(ctx, patientTrial); err != nil {
					return err
				}
				before, err = diskState(ctx, m)
				return err
			}},
			step{"each is refused, and nothing is changed", func() error {
				for _, bad := range []struct {
					name, says string
					code       int
				}{
					{"unsigned", "not signed", exitRefused},
					{"stranger", "it is signed by key", exitRefused},
					{"manifest", "is not what key", exitRefused},
					// The kernel is fetched first, and a whole one isn't fetched again.
					{"kernel", "skerry.efi.zst is not what the signed manifest says", 1},
					{"root", "root.erofs.zst is not what the signed manifest says", 1},
				} {
					if err := refusesPayload(ctx, m, bad.name, bad.says, bad.code); err != nil {
						return err
					}
					after, err := diskState(ctx, m)
					if err != nil {
						return err
					}
					if after != before {
						return fmt.Errorf("%s: the disk was\n%s\nand is\n%s", bad.name, before, after)
					}
				}
				return nil
			}},
			step{"what was not changed is taken", func() error { return u.apply(ctx, m, "good") }},
		)
	},
}

// diskState is all that an upgrade writes, but DATA.
func diskState(ctx context.Context, m *vm.Machine) (string, error) {
	return m.Run(ctx, "sudo sh -c 'ls -l /efi/EFI/Linux; lsblk -n -o PARTLABEL,PARTUUID; for p in /dev/disk/by-partlabel/_empty*; do head -c 1048576 $p | sha256sum; done; ls /state/upgrade.json'; true")
}

// refusesPayload checks that a payload isn't taken.
func refusesPayload(ctx context.Context, m *vm.Machine, name, says string, code int) error {
	_, err := m.Run(ctx, "sudo skerry upgrade apply "+payloadURL+name)
	var failure *vm.RunError
	switch {
	case err == nil:
		return fmt.Errorf("%s was taken", name)
	case !errors.As(err, &failure):
		return err
	case failure.Status != code || !strings.Contains(failure.Stderr, says):
		return fmt.Errorf("%s: the exit code is %d, want %d, and it says %q", name, failure.Status, code, failure.Stderr)
	}
	return nil
}

// spoil builds a good payload, and others that have one thing changed.
func (u *upgrades) spoil(ctx context.Context) error {
	if err := u.build(ctx, "good"); err != nil {
		return err
	}
	good := filepath.Join(u.dir, "good")
	for _, name := range []string{"unsigned", "manifest", "root", "kernel"} {
		if err := os.CopyFS(filepath.Join(u.dir, name), os.DirFS(good)); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(u.dir, "unsigned", "manifest.json.minisig")); err != nil {
		return err
	}
	if err := edit(filepath.Join(u.dir, "manifest", "manifest.json"), func(b []byte) []byte {
		return bytes.Replace(b, []byte(payloadVersion), []byte("9.9.9"), 1)
	}); err != nil {
		return err
	}
	flip := func(b []byte) []byte { b[u.t.Rand().IntN(len(b))] ^= 1; return b }
	for folder, file := range map[string]string{"root": "root.erofs.zst", "kernel": "skerry.efi.zst"} {
		if err := edit(filepath.Join(u.dir, folder, file), flip); err != nil {
			return err
		}
	}
	// The stranger's own signature is as good as any.
	mine := u.key
	u.key = filepath.Join(u.t.Build, "payloads", u.t.name+"-stranger.key")
	defer func() { u.key = mine }()
	if _, err := payload.NewKey(u.key); err != nil {
		return err
	}
	return u.build(ctx, "stranger")
}

// edit changes a file.
func edit(path string, change func([]byte) []byte) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, change(data), 0o644)
}
