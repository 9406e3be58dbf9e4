// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// extensionName is what the cloud-config takes as one, too.
var extensionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// Where an extension has what binds it to a system.
const (
	extensionReleaseDir = "usr/lib/extension-release.d"
	extensionModulesDir = "usr/lib/modules"
	extensionUnitsDir   = "usr/lib/systemd/system"
)

// extensionSteps are those that an extension needs: the tools, and for kernel modules the kernel.
func (o options) extensionSteps() []step {
	if o.bringsModules() {
		return steps[:2]
	}
	return steps[:1]
}

// bringsModules says whether an extension is bound to a kernel, and so to one version of the image.
func (o options) bringsModules() bool {
	_, err := os.Stat(filepath.Join(o.tree, extensionModulesDir))
	return err == nil
}

// checkExtension refuses what would make no extension, before minutes of work.
func (o options) checkExtension() error {
	if !extensionName.MatchString(o.extension) || strings.HasSuffix(o.extension, ".raw") {
		return fmt.Errorf("%q is not the name of an extension: at most 64 letters, digits and . _ -, such as strace", o.extension)
	}
	if o.tree == "" || o.signKey == "" || o.signCert == "" {
		return errors.New("an extension is made of a folder (-tree), and is signed: name a private key (-sign-key) and its certificate (-sign-cert), both in PEM; " +
			"openssl req -x509 -newkey rsa:4096 -nodes -days 3650 -subj /CN=extensions -keyout extensions.key -out extensions.crt makes a pair")
	}
	for _, file := range []string{o.signKey, o.signCert} {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			return errors.Join(fmt.Errorf("%s is no file", file), err)
		}
	}
	entries, err := os.ReadDir(o.tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "usr" || !e.IsDir() {
			return fmt.Errorf("%s has %s: an extension is laid over /usr, and everything in it is below usr/ (a program of /bin in usr/bin)", o.tree, e.Name())
		}
	}
	if len(entries) == 0 {
		return fmt.Errorf("%s is empty", o.tree)
	}
	if _, err := os.Lstat(filepath.Join(o.tree, "usr/lib/os-release")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has usr/lib/os-release, which says which system this is: take it out", o.tree)
	}
	return nil
}

// extensionRelease says what an extension is for (os-release(5)): a system whose libraries and programs are compatible or,
// where it brings kernel modules, this version alone.
func (b *build) extensionRelease(reload bool) string {
	lines := []string{"ID=skerry", "ARCHITECTURE=" + b.arch.systemd}
	if b.bringsModules() {
		lines = append(lines, "VERSION_ID="+b.version())
	} else {
		lines = append(lines, "SYSEXT_LEVEL="+b.versions["SYSEXT_LEVEL"])
	}
	if b.extensionVersion != "" {
		lines = append(lines, "IMAGE_VERSION="+b.extensionVersion)
	}
	if reload { // systemd sees the units it brings
		lines = append(lines, "EXTENSION_RELOAD_MANAGER=1")
	}
	return strings.Join(lines, "\n") + "\n"
}

// extensionFile is what the image of it is called. One for a single version names that: a URL may, too.
func (b *build) extensionFile() string {
	if b.bringsModules() {
		return b.extension + "-" + b.version() + ".raw"
	}
	return b.extension + ".raw"
}

// makeExtension writes an image of a folder: erofs, its hash tree, and that signed.
func (b *build) makeExtension(ctx context.Context) error {
	work, err := os.MkdirTemp(b.out, ".extension-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "tree")
	if err := layTree(b.tree, tree); err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(tree, extensionUnitsDir))
	release := filepath.Join(tree, extensionReleaseDir, "extension-release."+b.extension)
	if _, own := os.Stat(release); own != nil { // one that the folder brings knows better
		if err := writeFile(release, b.extensionRelease(err == nil)); err != nil {
			return err
		}
	}
	if b.bringsModules() {
		if err := b.completeModules(ctx, work, tree); err != nil {
			return err
		}
	}
	if err := b.setTimes(tree); err != nil {
		return err
	}
	binds := map[string]string{"work": work, "key": filepath.Dir(b.signKey), "cert": filepath.Dir(b.signCert)}
	if err := b.inTools(ctx, binds, "systemd-repart", "--make-ddi=sysext", "--architecture="+b.arch.systemd, "--offline=yes",
		"--copy-source=/mnt/work/tree",
		"--private-key=/mnt/key/"+filepath.Base(b.signKey), "--certificate=/mnt/cert/"+filepath.Base(b.signCert),
		"--seed="+uuidOf("extension", b.extension, b.extensionVersion), "/mnt/work/image.raw"); err != nil {
		return err
	}
	image := filepath.Join(work, "image.raw")
	if err := os.Chmod(image, 0o644); err != nil {
		return err
	}
	to := filepath.Join(b.out, b.extensionFile())
	if err := os.Rename(image, to); err != nil {
		return err
	}
	fmt.Println(to)
	return nil
}

// completeModules completes the kernel modules of an extension with the indices that modprobe reads: of them and the image's,
// for those of the extension hide the image's own.
func (b *build) completeModules(ctx context.Context, work, tree string) error {
	kernel, err := b.kernelVersion()
	if err != nil {
		return err
	}
	own := filepath.Join(tree, extensionModulesDir)
	entries, err := os.ReadDir(own)
	if err != nil {
		return err
	}
	if len(entries) != 1 || entries[0].Name() != kernel {
		return fmt.Errorf("the kernel of Skerry %s is %s: its modules are in %s/%s, and nothing else is beside that", b.version(), kernel, extensionModulesDir, kernel)
	}
	all := filepath.Join(work, "all", extensionModulesDir)
	for _, from := range []string{b.result("base", "root/"+extensionModulesDir), own} {
		if err := layTree(from, all); err != nil {
			return err
		}
	}
	if err := b.indexModules(ctx, filepath.Join(work, "all/usr")); err != nil {
		return err
	}
	indices, err := filepath.Glob(filepath.Join(all, kernel, "modules.*"))
	if err != nil {
		return err
	}
	for _, index := range indices {
		if err := copyFile(index, filepath.Join(own, kernel, filepath.Base(index)), 0o644); err != nil {
			return err
		}
	}
	return nil
}
