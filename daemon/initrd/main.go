// SPDX-License-Identifier: Apache-2.0

// Command skerry-initrd prepares the root file system in the initrd: after the
// root is mounted and systemd-repart has made or grown the partitions, and
// before systemd moves to the root. It mounts STATE and DATA, lays a tmpfs over
// the image's read-only /etc, and binds what must outlive a boot into it.
//
// "skerry-initrd partition" has systemd-repart make and grow partitions, and opens those that are encrypted;
// systemd-repart.service runs that.
// "skerry-initrd check DEVICE" checks a file system of the disk, and repairs it; systemd-fsck@.service runs that.
// "skerry-initrd reset" does the reset that waits on STATE; skerry-reset.service runs that, before DATA is.
// "skerry-initrd reset-menu" asks at the console for one; the entry of the boot menu leads to it.
// "skerry-initrd rescue" offers a shell on the console of a machine that can't start.
// "skerry-initrd medium" waits for the medium that a live system runs from; under the name skerry-live-generator it is a
// generator of systemd's, which makes the units of a live system.
//
// Every step is idempotent, and prints one line. The first that fails ends the
// program with an error that names it: the machine must not go on with half of
// its identity. The program has to stay small, since it is in the initrd of
// every image: the standard library, x/sys and renameio only.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	r := root{mounter: kernel{}, out: os.Stdout, cmdline: commandLine, units: "/run/systemd/system"}
	if filepath.Base(os.Args[0]) == generatorName {
		if len(os.Args) != 4 {
			fmt.Fprintf(os.Stderr, "%s: systemd gives it three folders\n", generatorName)
			os.Exit(exitUsage)
		}
		exitOn(generate(os.Args[2], r.cmdline))
		return
	}
	flag.StringVar(&r.dir, "sysroot", "/sysroot", "where the root file system is mounted")
	flag.StringVar(&r.run, "run", "/run/skerry", "folder on a tmpfs that lives on after the initrd")
	flag.StringVar(&r.stateDevice, "state", "/dev/skerry/state", "device of the machine's identity")
	flag.StringVar(&r.dataDevice, "data", "/dev/skerry/data", "device of /var")
	timeout := flag.Duration("timeout", 90*time.Second, "how long to wait for the partitions to appear")
	flag.Parse()
	r.check, r.repart, r.reboot = r.repair, systemdRepart, restartMachine
	r.partitions, r.mappings, r.tpm = "/dev/disk/by-partlabel", "/dev/mapper", "/dev/tpmrm0"
	r.settle, r.attach, r.detach, r.ask = settleUdev, cryptsetup, closeMapping, askOnConsoles()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch flag.Arg(0) {
	case "partition":
		exitOn(r.partition(ctx))
		return
	case "check":
		exitOn(r.repair(ctx, flag.Arg(1)))
		return
	case "reset":
		exitOn(r.perform(ctx))
		return
	case "reset-menu":
		exitOn(r.menu(ctx, os.Stdin, menuPatience))
		return
	case "rescue":
		exitOn(rescue(ctx, os.Stdin, os.Stdout, rescuePatience, consoleShell))
		return
	case "medium", "":
	default:
		fmt.Fprintf(os.Stderr, "skerry-initrd: %q is none of partition, check, reset, reset-menu, rescue, medium and nothing\n", flag.Arg(0))
		os.Exit(exitUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if flag.Arg(0) == "medium" {
		exitOn(r.medium(ctx, mediumImages, attachLoop))
		return
	}
	exitOn(r.prepare(ctx, steps()))
}

// exitUsage is for arguments that make no sense.
const exitUsage = 2

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "skerry-initrd:", err)
		os.Exit(1)
	}
}
