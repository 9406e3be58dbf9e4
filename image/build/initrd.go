// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// initrdProgram is the one program of ours in the initrd.
const initrdProgram = "usr/libexec/skerry/skerry-initrd"

// deviceNames are rules of udev's that hold in the initrd as they do after it.
const deviceNames = "overlay/usr/lib/udev/rules.d"

func initrdKey(b *build, d *digest) {
	d.text(b.keys["base"], b.osRelease())
	for _, file := range b.layers("initrd") {
		d.tree(file)
	}
	d.tree(b.source(deviceNames))
	if b.tree != "" {
		d.tree(filepath.Join(b.tree, initrdProgram))
	}
}

// makeInitrd makes initrd.zst from files of the base root, so that programs and kernel modules are
// the same before and after the switch, and nothing is in it that no boot needs: a smaller initrd is
// a faster boot.
func makeInitrd(ctx context.Context, b *build, dir string) error {
	base, err := os.OpenRoot(b.result("base", "root"))
	if err != nil {
		return err
	}
	defer base.Close()
	tree := filepath.Join(dir, "tree")
	if err := initrdSkeleton(base, tree, b.osRelease()); err != nil {
		return err
	}

	files, err := b.list("initrd/files")
	if err != nil {
		return err
	}
	c := &closure{base: base, libraries: b.arch.libraryDirs(), target: tree, have: map[string]bool{}}
	for _, pattern := range files {
		matches, err := fs.Glob(base.FS(), strings.TrimPrefix(pattern, "/"))
		if err != nil {
			return fmt.Errorf("image/initrd/files: %s: %w", pattern, err)
		}
		if len(matches) == 0 {
			return fmt.Errorf("image/initrd/files: nothing in the root matches %s", pattern)
		}
		for _, m := range matches {
			if err := c.add(m); err != nil {
				return err
			}
		}
	}
	if err := layTree(b.source("image/initrd/tree"), tree); err != nil {
		return err
	}
	if err := layTree(b.source(deviceNames), filepath.Join(tree, strings.TrimPrefix(deviceNames, "overlay/"))); err != nil {
		return err
	}
	if b.tree != "" {
		program := filepath.Join(b.tree, initrdProgram)
		if err := copyFile(program, filepath.Join(tree, initrdProgram), 0o755); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if err := b.initrdModules(ctx, base, dir); err != nil {
		return err
	}
	if err := writeCPIO(tree, filepath.Join(dir, "initrd"), b.epoch); err != nil {
		return err
	}
	err = b.inTools(ctx, map[string]string{"out": dir},
		"zstd", "--quiet", "-19", "-T0", "--rm", "/mnt/out/initrd", "-o", "/mnt/out/initrd.zst")
	if err != nil {
		return err
	}
	return os.RemoveAll(tree)
}

// initrdSkeleton makes the folders and links that systemd expects; /etc/initrd-release is how it
// knows that it runs in an initrd.
func initrdSkeleton(base *os.Root, tree, osRelease string) error {
	for _, d := range []string{"dev", "etc", "proc", "run", "sys", "sysroot", "tmp", "var",
		"usr/bin", "usr/lib", "usr/lib64", "usr/sbin"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			return err
		}
	}
	for _, l := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+l, filepath.Join(tree, l)); err != nil {
			return err
		}
	}
	if err := os.Symlink("usr/lib/systemd/systemd", filepath.Join(tree, "init")); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(tree, "usr/lib/os-release"), osRelease); err != nil {
		return err
	}
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(tree, "etc/os-release")); err != nil {
		return err
	}
	return os.Symlink("../usr/lib/os-release", filepath.Join(tree, "etc/initrd-release"))
}

// A closure copies files from the base root with all they need to be loaded.
type closure struct {
	base      *os.Root
	libraries []string // folders of them
	target    string
	have      map[string]bool
}

// add copies a file: as a folder with all below it, as a link with what it points to, as a program
// with its libraries.
func (c *closure) add(file string) error {
	file = c.throughUsr(file)
	if c.have[file] {
		return nil
	}
	c.have[file] = true
	info, err := c.base.Lstat(file)
	if err != nil {
		return err
	}
	from, to := filepath.Join(c.base.Name(), file), filepath.Join(c.target, file)
	switch {
	case info.IsDir():
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		entries, err := fs.ReadDir(c.base.FS(), file)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := c.add(path.Join(file, e.Name())); err != nil {
				return err
			}
		}
		return nil
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := c.base.Readlink(file)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(link, to); err != nil {
			return err
		}
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(file), link)
		}
		if link == "/dev/null" { // a masked unit
			return nil
		}
		return c.add(strings.TrimPrefix(link, "/"))
	}
	if err := copyFile(from, to, info.Mode().Perm()); err != nil {
		return err
	}
	needed, err := neededBy(c.base, c.libraries, file)
	if err != nil {
		return err
	}
	for _, n := range needed {
		if err := c.add(n); err != nil {
			return err
		}
	}
	return nil
}

// throughUsr names a file below /bin, /lib… by the path it has below /usr.
func (c *closure) throughUsr(file string) string {
	first, _, _ := strings.Cut(file, "/")
	switch first {
	case "bin", "lib", "lib64", "sbin":
		return "usr/" + file
	}
	return file
}

// initrdModules copies the kernel modules of image/initrd/modules and what they depend on,
// uncompressed: the initrd is compressed as a whole, and unpacking modules one by one is slower.
func (b *build) initrdModules(ctx context.Context, base *os.Root, dir string) error {
	kernel, err := b.kernelVersion()
	if err != nil {
		return err
	}
	names, err := b.list("initrd/modules")
	if err != nil {
		return err
	}
	modules := path.Join("usr/lib/modules", kernel)
	paths, err := moduleClosure(base, modules, names)
	if err != nil {
		return err
	}
	var compressed []string
	for _, p := range paths {
		to := filepath.Join(dir, "tree", modules, p)
		if err := copyFile(filepath.Join(base.Name(), modules, p), to, 0o644); err != nil {
			return err
		}
		if strings.HasSuffix(p, ".xz") {
			compressed = append(compressed, path.Join("/mnt/out/tree", modules, p))
		}
	}
	for _, f := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		err := copyFile(filepath.Join(base.Name(), modules, f), filepath.Join(dir, "tree", modules, f), 0o644)
		if err != nil {
			return err
		}
	}
	binds := map[string]string{"out": dir}
	if len(compressed) > 0 {
		if err := b.inTools(ctx, binds, append([]string{"xz", "--decompress"}, compressed...)...); err != nil {
			return err
		}
	}
	return b.inTools(ctx, binds, "depmod", "--basedir=/mnt/out/tree", kernel)
}

// moduleClosure finds modules and their dependencies in modules.dep; what is built into the kernel
// needs no file. Paths are relative to the folder of the kernel's modules.
func moduleClosure(base *os.Root, dir string, names []string) ([]string, error) {
	deps, err := readColonLists(base, path.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := readColonLists(base, path.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	byName := map[string]string{}
	for p := range deps {
		byName[moduleName(p)] = p
	}
	inKernel := map[string]bool{}
	for p := range builtin {
		inKernel[moduleName(p)] = true
	}
	var paths []string
	for _, name := range names {
		name = strings.ReplaceAll(name, "-", "_")
		p, ok := byName[name]
		switch {
		case ok:
			paths = append(append(paths, p), deps[p]...)
		case !inKernel[name]:
			return nil, fmt.Errorf("image/initrd/modules: this kernel has no %s", name)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// moduleName is the name of a module by its file: dm-verity.ko.xz is dm_verity.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readColonLists reads "key: word word" lines; a line without a colon is a key with no words.
func readColonLists(root *os.Root, name string) (map[string][]string, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := map[string][]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, words, _ := strings.Cut(lines.Text(), ":")
		m[key] = strings.Fields(words)
	}
	return m, lines.Err()
}
