// SPDX-License-Identifier: Apache-2.0

// Package install puts a live system onto a disk: it chooses the disk, divides
// and fills it with systemd-repart from what the live system runs from, and reads
// back what was written.
//
// systemd-repart writes the partition table last of all, after everything in the
// partitions has reached the disk. A power cut before leaves a disk without a
// table, which nothing boots from and which counts as empty; one after it leaves
// an installed disk. What is found damaged afterwards loses its table again.
//
// It must not touch a disk that it wasn't told to, and knows nothing of clusters.
package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/live"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/storage"
)

// The partitions by which an installed disk is known, by their labels.
const (
	espLabel   = "skerry-esp"
	stateLabel = "skerry-state"
)

// MinimumSize is what the partitions of /usr/lib/repart.d take at the least, in bytes, with some room for their table.
const MinimumSize = 6 << 30

// Progress is how far an installation is.
type Progress struct {
	// Step is what is being done, in words.
	Step string
	// Done of Total bytes. Total is 0 where that isn't known.
	Done, Total int64
}

// Installer installs the live system that this process runs in.
type Installer struct {
	Medium  live.Medium
	Version string
	// Definitions is the folder of the image's repart.d(5), ByID that of udev's links, Blocks the kernel's of block devices.
	Definitions, ByID, Blocks string
	// BIOS is the folder of the image with what machines with a BIOS start; "" where no machine of this processor has one.
	BIOS string
	// Dir is a folder on a tmpfs, for definitions and mount points.
	Dir string
	// Run runs a program of the image, and returns what it printed.
	Run func(ctx context.Context, program string, args ...string) (output string, err error)
	// CheckTPM says why this machine's TPM can't be relied on.
	CheckTPM func(ctx context.Context) error
	// Tell is told how far it is.
	Tell func(Progress)
	Log  *slog.Logger

	wait time.Duration // instead of partitionWait, in tests
}

// New returns the installer of this machine.
func New(medium live.Medium, version string, tell func(Progress), log *slog.Logger) *Installer {
	return &Installer{
		Medium: medium, Version: version,
		Definitions: "/usr/lib/repart.d", ByID: "/dev/disk/by-id", Blocks: "/sys/class/block", BIOS: biosFolder(runtime.GOARCH), Dir: "/run/skerry/install",
		Run: run, CheckTPM: storage.Here().CheckTPM, Tell: tell, Log: log,
	}
}

// lock keeps a second installation out: there are two consoles, and ssh.
func (i *Installer) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(i.Dir), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(i.Dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("another installation is under way on this machine: %w", err)
	}
	return func() { file.Close() }, nil
}

func run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", program, err, lastLines(stderr.String()))
	}
	return string(output), err
}

// lastLines are those in which a program says why it failed. systemd-repart draws bars before, which end with \r.
func lastLines(text string) string {
	const few = 4
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
	return strings.Join(lines[max(0, len(lines)-few):], "; ")
}

// Install installs to a disk. What is on it is lost if wipe is given, and the reason for an error if not. Of the document
// the installed machine has its cloud-config, as if it had booted with it before; without one it looks for its own. Section is
// what that cloud-config says of its storage; its passphrase must have been read.
func (i *Installer) Install(ctx context.Context, disk Disk, wipe bool, document *source.Document, section *configschema.Storage) (err error) {
	if i.Medium.Root == "" || i.Medium.Verity == "" || i.Medium.ESP == "" || len(i.Medium.RootHash) != hashDigits {
		return errors.New("the kernel command line doesn't say what this system runs from: boot the installation medium's own entry")
	}
	unlock, err := i.lock()
	if err != nil {
		return err
	}
	defer unlock()
	// Asked again: it may have been long since the disk was chosen.
	disks, err := i.Disks(ctx)
	if err != nil {
		return err
	}
	current, err := Find(disks, disk.Path)
	if err != nil {
		return err
	}
	switch {
	case current.Serial != disk.Serial || current.Bytes != disk.Bytes:
		return fmt.Errorf("%s is another disk than it was", disk.Path)
	case current.Unusable != "":
		return fmt.Errorf("nothing can be installed to %s: %s", current.Path, current.Unusable)
	case current.Contents != "" && !wipe:
		return fmt.Errorf("%w: %s holds %s", ErrData, current.Path, current.Contents)
	}
	if err := os.RemoveAll(i.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(i.Dir, 0o700); err != nil {
		return err
	}
	esp, unmount, err := i.mount(i.Medium.ESP, "medium", "vfat")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	sealed, err := i.seal(ctx, section)
	if err != nil {
		return err
	}
	if err := i.define(esp, document, sealed); err != nil {
		return err
	}
	i.Log.Info("installing", "disk", current.Path, "size", Size(current.Bytes), "model", current.Model, "serial", current.Serial)
	if err := i.write(ctx, current, wipe, sealed); err != nil {
		return err
	}
	if err := i.verify(ctx, current, esp, document, sealed); err != nil {
		// It would boot, and fail later. Without its table it is empty.
		_, wiping := i.Run(ctx, "/usr/sbin/wipefs", "--all", "--force", current.Path)
		return errors.Join(fmt.Errorf("what was written to %s can't be read back: %w; the disk was made empty again", current.Path, err), wiping)
	}
	i.Tell(Progress{Step: "installed"})
	return nil
}
