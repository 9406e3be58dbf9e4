// SPDX-License-Identifier: Apache-2.0

// Command build makes the disk image from the Debian packages named in image/packages, the files of
// overlay/, and a folder of our programs.
//
// It is a list of steps (see steps.go). The result of a step is kept in a cache outside of the tree
// under a key made from all that goes in, so a change rebuilds only what hangs on it. Debian's tools
// run inside a tree of their own, made by the first step; of the host it needs only mmdebstrap,
// root, and apt's package sources.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

type options struct {
	repo             string // root of the source tree
	tree             string // our programs and container images, laid over the root
	out              string // where the image goes
	cacheDir         string
	cmdline          string // appended to the kernel command line, for tests
	acceptLock       bool   // write packages.lock instead of comparing
	locked           bool   // fail when packages differ from packages.lock
	compress         bool   // also write the .raw.zst
	payload          string // make a payload for upgrades in this folder, and no disk
	push             string // publish the payload in this registry, and build nothing
	signKey          string // minisign's secret key that signs it, or the list of hashes; of an extension, the private key in PEM
	signCert         string // certificate of an extension's key
	extension        string // make an extension of this name of tree, and nothing else
	extensionVersion string // the extension's own, if it has one
	setVersion       string // instead of that of image/versions.env
	profile          string // the kind of machine that the image is for
	goarch           string // its architecture, a key of architectures
	iso              bool   // also write the .iso
	netboot          bool   // also write the files that a live system boots from the network with
	formats          bool   // also write the disk in every form of formats, the list of what is in it, and hashes of all

	secureBootKey, secureBootCert string // files of what signs all that the firmware starts
	secureBootTrust               string // files of certificates that the firmware is to trust as well, separated by spaces
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == insideArg {
		fmt.Fprintln(os.Stderr, becomeTool(os.Args[2]))
		os.Exit(1)
	}
	var o options
	flag.StringVar(&o.repo, "C", ".", "root of the source tree")
	flag.StringVar(&o.tree, "tree", "", "folder of files laid over the root: our programs and container images")
	flag.StringVar(&o.out, "out", "build", "folder the image is written to")
	flag.StringVar(&o.cacheDir, "cache", defaultCache(), "folder that keeps the results of steps")
	flag.StringVar(&o.cmdline, "cmdline", "", "appended to the kernel command line (for tests)")
	flag.BoolVar(&o.acceptLock, "accept-lock", false, "write image/packages.lock from what gets installed, and stop")
	flag.BoolVar(&o.locked, "locked", false, "fail when the archive has other packages than image/packages.lock")
	flag.BoolVar(&o.compress, "compress", false, "write the compressed image too")
	flag.StringVar(&o.payload, "payload", "", "make what machines upgrade from in this folder, instead of a disk")
	flag.StringVar(&o.push, "push", "", "publish the payload in the folder of -payload as an image, oci://REGISTRY/REPOSITORY[:TAG], and build nothing")
	flag.StringVar(&o.signKey, "sign-key", "", "file with minisign's secret key that signs the payload, or the hashes of what -formats writes; its password is in "+payloadPassword+". With -extension, a private key in PEM")
	flag.StringVar(&o.extension, "extension", "", "make an extension of this `name` of the folder -tree, and no image")
	flag.StringVar(&o.signCert, "sign-cert", "", "file with the certificate of the key that signs an extension, in PEM")
	flag.StringVar(&o.extensionVersion, "extension-version", "", "version of the extension itself, for people")
	flag.StringVar(&o.setVersion, "version", "", "version of the image, instead of that of image/versions.env")
	flag.StringVar(&o.profile, "profile", defaultProfile, "kind of machine that the image is for: cloud, or a folder of image/profiles")
	flag.StringVar(&o.goarch, "arch", defaultArchitecture, "architecture of the machines, as Go has it: amd64, arm64")
	flag.BoolVar(&o.iso, "iso", false, "write the ISO image of a live system too, which installs")
	flag.BoolVar(&o.netboot, "netboot", false, "write the files that a live system boots from the network with, too")
	flag.BoolVar(&o.formats, "formats", false, "write the image for virtual machines and clouds too, an SBOM, and SHA256SUMS of all that was written")
	flag.StringVar(&o.secureBootKey, "secure-boot-key", "", "file with the private key, of RSA's and PEM, that signs all that the firmware starts")
	flag.StringVar(&o.secureBootCert, "secure-boot-cert", "", "file with its certificate, which the firmware is to trust")
	flag.StringVar(&o.secureBootTrust, "secure-boot-trust", "", "files with certificates that it is to trust as well, separated by spaces")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "build: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}

	for _, p := range []*string{&o.repo, &o.tree, &o.out, &o.cacheDir, &o.payload, &o.signKey, &o.signCert, &o.secureBootKey, &o.secureBootCert} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n", err)
			os.Exit(1)
		}
		*p = abs
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.push != "" { // with the credentials of who calls
		return push(ctx, o, os.Stdout)
	}
	if os.Geteuid() != 0 {
		return becomeRoot()
	}
	b, err := newBuild(o)
	if err != nil {
		return err
	}
	if err := b.runSteps(ctx); err != nil {
		return err
	}
	return b.giveBack()
}

// becomeRoot runs the same command again through sudo. Mounting, and files that belong to root in
// the image, need it.
func becomeRoot() error {
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return errors.New("building the image mounts file systems and makes files that belong to root: run it as root (sudo is not installed)")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "building the image needs root; asking sudo")
	args := []string{"sudo", "--preserve-env=http_proxy,https_proxy,no_proxy,SOURCE_DATE_EPOCH," + payloadPassword, "--", self}
	// What they are now: paths are absolute.
	flag.VisitAll(func(f *flag.Flag) { args = append(args, "-"+f.Name+"="+f.Value.String()) })
	return syscall.Exec(sudo, args, os.Environ())
}

func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "build/cache"
	}
	return filepath.Join(dir, "skerry")
}
