// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func baseKey(b *build, d *digest) {
	d.text(b.keys["tools"], b.epoch, kernelConfig, depmod)
	// The lock too: when it changes, a base that was made before it is not what it asks for.
	for _, p := range []string{"mkosi", "packages", "packages.lock", "packages.stripped", "files.stripped"} {
		files := b.layers(p)
		if p == "packages.lock" {
			files = b.lockFiles()
		}
		for _, file := range files {
			d.tree(file)
		}
	}
	if b.arch.name != defaultArchitecture {
		d.text(b.arch.name)
	}
}

// makeBase makes root/, the packages of image/packages installed and stripped of what only
// installing needs, vmlinuz, its kernel, and packages.json, what is in it.
func makeBase(ctx context.Context, b *build, dir string) error {
	if err := b.arch.runsHere(); err != nil {
		return err
	}
	packages, err := b.list("packages")
	if err != nil {
		return err
	}
	sources, err := packageSources(b.result("tools", "tree"))
	if err != nil {
		return err
	}
	sandbox := filepath.Join(dir, "sandbox")
	if err := writeFile(filepath.Join(sandbox, "etc/apt/sources.list.d/mkosi.sources"), sources); err != nil {
		return err
	}
	// In the output folder, so that mkosi can rename its result instead of copying it.
	work := filepath.Join(dir, "work")
	downloads := filepath.Join(b.cacheDir, "downloads")
	for _, p := range []string{work, downloads} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
	}

	args := []string{"mkosi", "--directory=/mnt/config", "--force",
		"--release=" + b.versions["DEBIAN_SUITE"], "--architecture=" + b.arch.systemd,
		"--output=root", "--output-directory=/mnt/out",
		"--workspace-directory=/mnt/out/work", "--package-cache-dir=/mnt/downloads",
		"--sandbox-tree=/mnt/sandbox", "--source-date-epoch=" + b.epoch}
	for _, p := range packages {
		args = append(args, "--package="+p)
	}
	binds := map[string]string{"config": b.source("image/mkosi"), "out": dir,
		"sandbox": sandbox, "downloads": downloads}
	if err := b.inTools(ctx, binds, append(args, "build")...); err != nil {
		return err
	}

	root, err := os.OpenRoot(filepath.Join(dir, "root"))
	if err != nil {
		return err
	}
	defer root.Close()
	installed, err := readDpkgStatus(root)
	if err != nil {
		return err
	}
	// Where mkosi has apt keep what it downloads.
	if err := hashPackages(installed, filepath.Join(downloads, "cache/apt/archives")); err != nil {
		return err
	}
	if err := b.stripPackages(root, installed); err != nil {
		return err
	}
	if err := keepKernelConfig(root); err != nil {
		return err
	}
	if err := b.stripFiles(root); err != nil {
		return err
	}
	if err := b.indexModules(ctx, filepath.Join(dir, "root/usr")); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "root.vmlinuz"), filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, "packages.json"), installed); err != nil {
		return err
	}
	for _, p := range []string{sandbox, work} {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	return nil
}

// kernelConfig is where a kernel's configuration is kept, beside its modules: `skerry check-config`
// looks there.
const kernelConfig = "usr/lib/modules/%s/config"

// keepKernelConfig moves it there before /boot is emptied.
func keepKernelConfig(root *os.Root) error {
	found, err := fs.Glob(root.FS(), "boot/config-*")
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("the root has %d configurations of kernels in /boot, want 1", len(found))
	}
	return root.Rename(found[0], fmt.Sprintf(kernelConfig, strings.TrimPrefix(found[0], "boot/config-")))
}

// depmod makes the indices that modprobe reads.
const depmod = "depmod"

// indexModules indexes the kernel modules below a /usr: whoever asks for one that was taken out is told that there is none.
func (b *build) indexModules(ctx context.Context, usr string) error {
	kernel, err := kernelIn(usr)
	if err != nil {
		return err
	}
	return b.inTools(ctx, map[string]string{"usr": usr}, depmod, "--basedir=/mnt/usr", kernel)
}

// kernelVersion is that of the base root.
func (b *build) kernelVersion() (string, error) { return kernelIn(b.result("base", "root/usr")) }

// kernelIn is the name of the one folder of kernel modules below a /usr.
func kernelIn(usr string) (string, error) {
	dirs, err := os.ReadDir(filepath.Join(usr, "lib/modules"))
	if err != nil {
		return "", err
	}
	if len(dirs) != 1 {
		return "", fmt.Errorf("the root has %d kernels, want 1", len(dirs))
	}
	return dirs[0].Name(), nil
}
