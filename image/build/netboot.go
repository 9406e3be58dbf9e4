// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// netbootFile is a file that is booted from the network, in the result of the step and as it is delivered.
type netbootFile struct{ file, ending string }

// What a live system is booted from the network with. The first is all that UEFI needs; the others are for boot loaders that
// take kernel, initrd and command line one by one. The script is iPXE's.
var (
	netbootUKI    = netbootFile{"netboot.efi", "netboot.efi"}
	netbootKernel = netbootFile{"vmlinuz", "netboot.vmlinuz"}
	netbootInitrd = netbootFile{"initrd", "netboot.initrd"}
	netbootScript = netbootFile{"boot.ipxe", "netboot.ipxe"}
)

var netbootFiles = []netbootFile{netbootUKI, netbootKernel, netbootInitrd, netbootScript}

// carriedMedium is where the initrd has the medium. daemon/initrd looks there.
const carriedMedium = "skerry/medium.iso"

func netbootKey(b *build, d *digest) {
	d.text(b.keys["tools"], b.keys["uki"], b.keys["iso"], b.version(), b.epoch, carriedMedium, ipxeScript)
	b.signing(d)
}

// makeNetboot makes what boots the live system of the ISO image from the network. The initrd has that image in it: the live
// system runs from it, and installs from it, as from a CD that never has to be read again. Only the UKI is signed for Secure
// Boot: a signature of the kernel alone would have the firmware start it with any initrd and command line.
func makeNetboot(ctx context.Context, b *build, dir string) error {
	cmdline, err := b.kernelCommandLine()
	if err != nil {
		return err
	}
	hash, err := b.rootHash()
	if err != nil {
		return err
	}
	cmdline += " " + liveCommandLine(hash)
	kernel, err := b.kernelVersion()
	if err != nil {
		return err
	}
	epoch, err := b.time()
	if err != nil {
		return err
	}
	if err := copyFile(b.result("base", "vmlinuz"), filepath.Join(dir, netbootKernel.file), 0o644); err != nil {
		return err
	}
	initrd := filepath.Join(dir, netbootInitrd.file)
	if err := copyFile(b.result("initrd", "initrd.zst"), initrd, 0o644); err != nil {
		return err
	}
	if err := carryMedium(initrd, b.result("iso", "skerry.iso"), epoch.Unix()); err != nil {
		return err
	}
	script := fmt.Sprintf(ipxeScript, b.version(), b.fileName(netbootKernel.ending), b.fileName(netbootInitrd.ending), cmdline)
	if err := writeFile(filepath.Join(dir, netbootScript.file), script); err != nil {
		return err
	}
	binds := map[string]string{"out": dir, "base": b.result("base", ""), "uki": b.result("uki", "")}
	err = b.inTools(ctx, binds, "ukify", "build",
		"--linux=/mnt/out/"+netbootKernel.file, "--uname="+kernel, "--initrd=/mnt/out/"+netbootInitrd.file,
		"--cmdline="+cmdline, "--os-release=@/mnt/uki/os-release",
		"--stub=/mnt/base/root/"+b.arch.efiProgram("linux", ".efi.stub"), "--output=/mnt/out/"+netbootUKI.file)
	if err != nil {
		return err
	}
	return b.signEFI(ctx, filepath.Join(dir, netbootUKI.file))
}

// carryMedium appends an archive with the medium to an initrd. The kernel unpacks one after the other. It is not compressed:
// nearly all of it is already, and unpacking would take the time and memory again.
func carryMedium(initrd, medium string, mtime int64) error {
	file, err := os.OpenFile(initrd, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := file.Write(make([]byte, -end&(cpioAlign-1))); err != nil {
		return err
	}
	w := newCPIO(file, mtime)
	if err := w.header(filepath.Dir(carriedMedium), cpioDir|0o755, 0); err != nil {
		return err
	}
	info, err := os.Stat(medium)
	if err != nil {
		return err
	}
	if err := w.add(carriedMedium, medium, info); err != nil {
		return fmt.Errorf("pack %s: %w", medium, err)
	}
	if err := w.close(); err != nil {
		return err
	}
	return file.Close()
}

// ipxeScript has places for the version, the names of kernel and initrd, and the command line. Names are relative to where the
// script is; initrd= is for kernels that UEFI starts, which look for it by that name.
const ipxeScript = `#!ipxe
# Live system of Skerry %[1]s. What else the kernel is to be told goes into the variable skerry-args of a script that chains
# to this one.
kernel %[2]s initrd=%[3]s %[4]s ${skerry-args}
initrd %[3]s
boot
`
