// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

func ukiKey(b *build, d *digest) {
	d.text(b.keys["tools"], b.keys["verity"], b.keys["initrd"], b.cmdline,
		mainProfile, resetProfile, resetArgument, resetRelease(b.osRelease()))
	for _, file := range b.layers("cmdline") {
		d.tree(file)
	}
	b.signing(d)
}

// Entries of the boot menu, in the form of os-release(5), and the argument that has skerry-reset-menu.service of the initrd ask.
const (
	mainProfile   = "ID=main"
	resetProfile  = "ID=reset\nTITLE=Reset"
	resetArgument = "rd.skerry.reset=ask"
)

// kernelCommandLine is what the kernel of this image is started with; it is part of the UKI and
// can't be changed on the machine.
func (b *build) kernelCommandLine() (string, error) {
	hash, err := b.rootHash()
	if err != nil {
		return "", err
	}
	words, err := b.list("cmdline")
	if err != nil {
		return "", err
	}
	words = append([]string{"roothash=" + hash}, words...)
	if b.cmdline != "" {
		words = append(words, b.cmdline)
	}
	return strings.Join(words, " "), nil
}

// resetRelease is the os-release of the boot menu's entry for a reset, by which systemd-boot sorts it behind all others. By
// profiles it doesn't where attempts are counted: it compares the name of one with a count to that of the other without, and 257
// started the reset when a new version was to be tried.
func resetRelease(release string) string {
	return strings.Replace(release, "\nIMAGE_ID=skerry\n", "\nIMAGE_ID=skerry-reset\n", 1)
}

// makeUKI makes skerry.efi: kernel, initrd and command line in one file that the firmware can start.
func makeUKI(ctx context.Context, b *build, dir string) error {
	cmdline, err := b.kernelCommandLine()
	if err != nil {
		return err
	}
	kernel, err := b.kernelVersion()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "os-release"), b.osRelease()); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "os-release.reset"), resetRelease(b.osRelease())); err != nil {
		return err
	}
	binds := map[string]string{"out": dir, "base": b.result("base", ""), "initrd": b.result("initrd", "")}
	// Another entry of the boot menu: the same kernel with one more argument (systemd-stub(7), multi-profile images).
	err = b.inTools(ctx, binds, "ukify", "build", "--profile="+resetProfile, "--cmdline="+cmdline+" "+resetArgument,
		"--os-release=@/mnt/out/os-release.reset",
		"--stub=/mnt/base/root/"+b.arch.efiProgram("addon", ".efi.stub"), "--output=/mnt/out/reset.efi")
	if err != nil {
		return err
	}
	err = b.inTools(ctx, binds, "ukify", "build",
		"--linux=/mnt/base/vmlinuz", "--uname="+kernel,
		"--initrd=/mnt/initrd/initrd.zst", "--cmdline="+cmdline, "--os-release=@/mnt/out/os-release",
		// The stub goes with the kernel and systemd of the image, not with the tools.
		"--stub=/mnt/base/root/"+b.arch.efiProgram("linux", ".efi.stub"),
		// The first profile is what is started when nothing is chosen, and has to be there for the others to be others.
		"--profile="+mainProfile, "--join-profile=/mnt/out/reset.efi",
		"--output=/mnt/out/skerry.efi")
	if err != nil {
		return err
	}
	for _, name := range []string{"reset.efi", "os-release.reset"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return b.signEFI(ctx, filepath.Join(dir, "skerry.efi"))
}
