// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// erofsArgs choose how the root is compressed. Higher levels and larger clusters save a twelfth of the
// size, take four times as long to write, and larger clusters make every cold read slower.
var erofsArgs = []string{"-zzstd,level=3", "-C16384"}

// emptied are folders whose content is made on a running machine: on DATA, or in memory.
var emptied = []string{"var", "run", "tmp", "boot", "efi", "root", "home", "opt", "srv", "mnt", "media"}

// rootLinks are the top-level folders that live on DATA.
var rootLinks = map[string]string{
	"home": "var/home", "opt": "var/opt", "root": "var/roothome", "srv": "var/srv", "mnt": "var/mnt",
}

// dropped are top-level leftovers of the kernel package and of mkosi.
var dropped = []string{"init", "initrd.img", "initrd.img.old", "vmlinuz", "vmlinuz.old", "lib32", "libx32", "media"}

func rootKey(b *build, d *digest) {
	d.text(b.keys["base"], b.keys["bios"], b.osRelease(), b.epoch)
	d.text(erofsArgs...)
	d.text(emptied...)
	d.tree(b.source("overlay"))
	if b.tree != "" {
		d.tree(b.tree)
	}
}

// makeRoot makes root.erofs: the base, our overlay, our programs.
func makeRoot(ctx context.Context, b *build, dir string) error {
	root := filepath.Join(dir, "root")
	// cp keeps owners, hard links, capabilities and times, and shares blocks where it can.
	cp := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", b.result("base", "root"), root)
	cp.Stdout, cp.Stderr = b.progress.log, b.progress.log
	if err := cp.Run(); err != nil {
		return fmt.Errorf("copy the base: %w", err)
	}
	if err := shapeRoot(root); err != nil {
		return err
	}
	trees := []string{b.source("overlay")}
	if b.tree != "" {
		trees = append(trees, b.tree)
	}
	for _, t := range trees {
		if err := layTree(t, root); err != nil {
			return err
		}
	}
	if err := b.layBIOS(filepath.Join(root, biosRoot)); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(root, "usr/lib/os-release"), b.osRelease()); err != nil {
		return err
	}
	binds := map[string]string{"out": dir}
	for _, args := range [][]string{
		// What is enabled is said by overlay/usr/lib/systemd/system-preset alone.
		{"systemctl", "--root=/mnt/out/root", "preset-all"},
		{"systemctl", "--root=/mnt/out/root", "--global", "preset-all"},
		append(append([]string{"mkfs.erofs", "--quiet", "-T" + b.epoch, "--all-time",
			"-U" + uuidOf("root", b.version()), "-Lskerry"}, erofsArgs...), "/mnt/out/root.erofs", "/mnt/out/root"),
	} {
		if err := b.inTools(ctx, binds, args...); err != nil {
			return err
		}
	}
	return os.RemoveAll(root)
}

// shapeRoot gives the root the form of architecture: /usr and /etc from the image, all else made or
// mounted at boot.
func shapeRoot(root string) error {
	for _, name := range append(emptied, dropped...) {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"var", "run", "tmp", "efi", "state"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), os.ModeSticky|0o777); err != nil {
		return err
	}
	for name, target := range rootLinks {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	etc := filepath.Join(root, "etc")
	for _, name := range []string{"hostname", "resolv.conf", "os-release", "fstab", ".pwd.lock", "motd",
		"passwd-", "group-", "shadow-", "gshadow-", "subuid-", "subgid-"} {
		if err := os.RemoveAll(filepath.Join(etc, name)); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
		"os-release":  "../usr/lib/os-release",
	} {
		if err := os.Symlink(target, filepath.Join(etc, name)); err != nil {
			return err
		}
	}
	// Empty: the initrd puts the machine's own over it.
	if err := os.WriteFile(filepath.Join(etc, "machine-id"), nil, 0o444); err != nil {
		return err
	}
	// As new as /usr: nothing below /etc is brought up to date at boot (systemd-update-done.service(8)).
	if err := os.WriteFile(filepath.Join(etc, ".updated"), nil, 0o644); err != nil {
		return err
	}
	// Every machine makes its own.
	keys, err := filepath.Glob(filepath.Join(etc, "ssh/ssh_host_*"))
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := os.Remove(k); err != nil {
			return err
		}
	}
	return nil
}

// osRelease says which system this is (os-release(5)); the initrd has it too.
func (b *build) osRelease() string {
	v := b.version()
	return strings.Join([]string{
		`NAME="Skerry"`,
		`ID=skerry`,
		`ID_LIKE=debian`,
		`PRETTY_NAME="Skerry ` + v + `"`,
		`VERSION="` + v + `"`,
		`VERSION_ID="` + v + `"`,
		`DEFAULT_HOSTNAME=skerry`,
		`VARIANT_ID=` + b.profile,
		`IMAGE_ID=skerry`,
		`IMAGE_VERSION="` + v + `"`,
		`VERSION_CODENAME=` + b.versions["DEBIAN_SUITE"],
		`SYSEXT_LEVEL=` + b.versions["SYSEXT_LEVEL"],
		"",
	}, "\n")
}
