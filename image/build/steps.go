// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A step makes one result. Its key says all that the result depends on; steps see the results of the
// steps before them through build.result.
type step struct {
	name string // names the result in the cache
	does string // shown while it runs
	key  func(b *build, d *digest)
	run  func(ctx context.Context, b *build, dir string) error
}

// allProfiles are the steps whose result is of no profile.
var allProfiles = []string{"tools", "format-tools", "sign-tools"}

// cacheName keeps results of one profile and architecture from pushing those of another out of the cache.
func (b *build) cacheName(step string) string {
	if slices.Contains(allProfiles, step) {
		return step
	}
	return strings.Join(append(b.marks(), step), "-")
}

// steps, in the order they run.
var steps = []step{
	{"tools", "tools tree: mkosi, repart, ukify, erofs", toolsKey, makeTools},
	{"base", "root file system from Debian packages", baseKey, makeBase},
	{"root", "erofs root: packages, overlay, programs", rootKey, makeRoot},
	{"verity", "dm-verity hash tree", verityKey, makeVerity},
	{"initrd", "initrd", initrdKey, makeInitrd},
	{"uki", "unified kernel image", ukiKey, makeUKI},
	{"disk", "partitions", diskKey, makeDisk},
}

// biosSteps come before the root where machines may have a BIOS.
var biosSteps = []step{
	{"bios-tools", "tools tree: GRUB", biosToolsKey, makeBIOSTools},
	{"bios", "GRUB, for BIOS", biosKey, makeBIOS},
}

// formatToolSteps follow where an image is wanted in any other form than that of a disk.
var formatToolSteps = []step{
	{"format-tools", "tools tree: xorriso, sfdisk, mtools, qemu-img", formatToolsKey, makeFormatTools},
}

// isoSteps follow where an ISO image is wanted.
var isoSteps = []step{
	{"iso", "ISO image", isoKey, makeISO},
}

// netbootSteps follow where files for booting from the network are wanted; they have the ISO image in them.
var netbootSteps = []step{
	{"netboot", "network boot: UKI, kernel, initrd, iPXE script", netbootKey, makeNetboot},
}

// wanted are the steps of this build.
func (o options) wanted() []step {
	if o.extension != "" {
		return o.extensionSteps()
	}
	all := slices.Clone(steps)
	before := func(name string, more []step) {
		all = slices.Insert(all, slices.IndexFunc(all, func(s step) bool { return s.name == name }), more...)
	}
	if architectures[o.goarch].bios {
		before("root", biosSteps)
	}
	if o.secureBootKey != "" {
		before("uki", signSteps)
	}
	if o.iso || o.netboot || o.formats {
		all = append(all, formatToolSteps...)
	}
	if o.iso || o.netboot {
		all = append(all, isoSteps...)
	}
	if o.netboot {
		all = append(all, netbootSteps...)
	}
	if o.formats {
		for _, f := range o.formatsOfProfile() {
			all = append(all, f.step)
		}
	}
	return all
}

// A build is one run of the steps.
type build struct {
	options
	cache    *cache
	versions versions
	arch     architecture
	epoch    string            // SOURCE_DATE_EPOCH: the time stamped on everything
	results  map[string]string // step → folder
	keys     map[string]string // step → key
	progress *progress
	signer   *signer // nil where nothing is signed for Secure Boot
}

func newBuild(o options) (*build, error) {
	v, err := readVersions(filepath.Join(o.repo, "image/versions.env"))
	if err != nil {
		return nil, err
	}
	if o.setVersion != "" {
		v["SKERRY_VERSION"] = o.setVersion
	}
	if o.extension != "" {
		if err := o.checkExtension(); err != nil {
			return nil, err
		}
	}
	if o.payload != "" || o.formats && o.signKey != "" {
		if _, err := signingKey(o.signKey); err != nil { // before minutes of work
			return nil, err
		}
	}
	s, err := newSigner(o)
	if err != nil {
		return nil, err
	}
	epoch, err := sourceDateEpoch(v)
	if err != nil {
		return nil, err
	}
	arch, err := findArchitecture(o.goarch)
	if err != nil {
		return nil, err
	}
	b := &build{options: o, versions: v, arch: arch, epoch: epoch, results: map[string]string{}, keys: map[string]string{}}
	if err := b.checkProfile(); err != nil {
		return nil, err
	}
	c, err := openCache(o.cacheDir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	p, err := newProgress(filepath.Join(o.out, "log"), len(o.wanted()))
	if err != nil {
		return nil, err
	}
	b.cache, b.progress, b.signer = c, p, s
	return b, nil
}

// name of the image among others.
func (b *build) name() string {
	name := "skerry-"
	if b.profile != defaultProfile {
		name += b.profile + "-"
	}
	return name + b.version() + "-" + b.arch.name
}

// fileName is that of what a build delivers, by what it ends in.
func (b *build) fileName(ending string) string { return b.name() + "." + ending }

// version of the image.
func (b *build) version() string { return b.versions["SKERRY_VERSION"] }

// result is a path in the result of an earlier step.
func (b *build) result(step, path string) string {
	dir, ok := b.results[step]
	if !ok {
		panic("step " + step + " has not run yet")
	}
	return filepath.Join(dir, path)
}

func (b *build) source(path string) string { return filepath.Join(b.repo, path) }

// inTools runs a command inside the tools tree; binds are names under /mnt → host folders.
func (b *build) inTools(ctx context.Context, binds map[string]string, args ...string) error {
	return b.inTree(ctx, "tools", binds, args...)
}

// inTree runs a command likewise inside the tree that a step has made.
func (b *build) inTree(ctx context.Context, step string, binds map[string]string, args ...string) error {
	t := tool{Tree: b.result(step, "tree"), Binds: binds, Args: args,
		Env: map[string]string{"SOURCE_DATE_EPOCH": b.epoch}}
	return t.run(ctx, b.progress.log)
}

func (b *build) runSteps(ctx context.Context) error {
	for _, s := range b.wanted() {
		if s.name == "disk" && b.payload != "" {
			return b.makePayload(ctx)
		}
		if err := b.progress.start(s.name, s.does); err != nil {
			return err
		}
		cached, err := b.runStep(ctx, s)
		if err != nil {
			b.progress.failed()
			return fmt.Errorf("step %s: %w", s.name, err)
		}
		b.progress.done(cached)
		if s.name == "base" {
			if b.acceptLock {
				return b.lockBase(s)
			}
			if err := b.checkLock(); err != nil {
				return err
			}
		}
	}
	if b.extension != "" {
		return b.makeExtension(ctx)
	}
	return b.deliver(ctx)
}

func (b *build) runStep(ctx context.Context, s step) (cached bool, err error) {
	key, err := b.keyOf(s)
	if err != nil {
		return false, err
	}
	b.keys[s.name] = key
	name := b.cacheName(s.name)
	b.results[s.name] = b.cache.path(name, key)
	// What the archive has now is not in the cache.
	anew := s.name == "base" && b.acceptLock
	if !anew && b.cache.has(name, key) {
		return true, nil
	}
	return false, b.cache.put(name, key, func(dir string) error {
		return s.run(ctx, b, dir)
	})
}

func (b *build) keyOf(s step) (string, error) {
	d := newDigest(s.name)
	s.key(b, d)
	return d.sum()
}

// giveBack hands what was built to the user who called sudo.
func (b *build) giveBack() error {
	uid, err := strconv.Atoi(os.Getenv("SUDO_UID"))
	if err != nil {
		return nil // not through sudo
	}
	gid, err := strconv.Atoi(os.Getenv("SUDO_GID"))
	if err != nil {
		return nil
	}
	return filepath.WalkDir(b.out, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// sourceDateEpoch is the environment's, as every reproducible build has it, or the one pinned with
// the versions.
func sourceDateEpoch(v versions) (string, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		epoch = v["SOURCE_DATE_EPOCH"]
	}
	if epoch == "" {
		epoch = defaultEpoch
	}
	n, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || time.Unix(n, 0).Year() < 2020 {
		return "", fmt.Errorf("SOURCE_DATE_EPOCH %q is not a time since 2020 in seconds", epoch)
	}
	return epoch, nil
}

// time is that of the epoch.
func (b *build) time() (time.Time, error) {
	seconds, err := strconv.ParseInt(b.epoch, 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

// defaultEpoch is 2026-01-01.
const defaultEpoch = "1767225600"
