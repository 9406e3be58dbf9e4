// SPDX-License-Identifier: Apache-2.0

// Package upgrade brings another version of the system to this machine, tries it, and goes back where it doesn't prove
// itself.
//
// A version comes as a payload: a folder with a signed manifest and the files that it names (manifest.go), on a web server, in
// an OCI registry, on a disk (source.go). They are fetched to DATA and verified there; then systemd-sysupdate writes them to the slot that doesn't run, and systemd-boot counts the
// boots of it. A boot that is counted is on trial (trial.go): it is blessed once the node has been Ready for a while, and
// the machine goes back to the version before where that takes too long. What is under way, and how the last upgrade ended,
// is on STATE (record.go), for the machine may be somebody else's by then: another version of this program.
//
// The slot that runs is never written, and nothing at all is before the payload's signature was verified.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/slot"
)

// Where things are.
const (
	RecordFile = "/state/upgrade.json"
	StagingDir = "/var/lib/skerry/upgrade"
	// KeysDir has the public keys that the image trusts, *.pub as minisign(1) writes them.
	KeysDir = "/usr/share/skerry/upgrade-keys"
	// definitionsDir has what systemd-sysupdate is to do.
	definitionsDir = "/run/skerry/sysupdate.d"
	lockFile       = "/run/skerry/upgrade.lock"
	// countedFile is there in a boot that systemd-boot counts, where the kernel shows variables of EFI (systemd's Boot Loader
	// Interface).
	countedFile = "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	bootIDFile  = "/proc/sys/kernel/random/boot_id"
)

// attempts is how often systemd-boot tries a version.
const attempts = 3

// Upgrader changes this machine's version.
type Upgrader struct {
	// Root is put before all paths, in tests.
	Root  string
	Slots slot.Reader
	// Kubernetes is the version of it that runs.
	Kubernetes string
	// Keys are public keys to trust beside those of the image, in minisign's form.
	Keys []string
	// Registries are how OCI registries are asked.
	Registries Registries
	// Trial is how the next version has to prove itself.
	Trial Terms
	// Run runs a program, and returns its output with the error.
	Run func(ctx context.Context, name string, args ...string) error
	// Misfits names the extensions of this machine that a version would refuse, each with the reason. It may be nil.
	Misfits func(ctx context.Context, version, sysextLevel string) ([]string, error)
	// Progress gets lines for people, and is called for each part of a file with what there is of it. It may be nil.
	Progress func(p Progress)
	Log      *slog.Logger
	Now      func() time.Time
}

// Progress is how far an upgrade is.
type Progress struct {
	Step        string // what is done, for people
	Done, Total int64  // bytes; 0 for steps that aren't measured
}

// Terms are how a version has to prove itself.
type Terms struct {
	// Deadline is from the start of the kernel.
	Deadline time.Duration
	// Stable is for how long the node must be Ready without a break.
	Stable time.Duration
}

// DefaultTerms leave a slow machine time to import images, and a quick one to fail.
var DefaultTerms = Terms{Deadline: 15 * time.Minute, Stable: time.Minute}

// ErrBusy is for an upgrade while another one is under way.
var ErrBusy = errors.New("another upgrade is under way on this machine")

// RefusedError is for what is not done, and of which nothing was changed.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

func refused(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...)}
}

func (u *Upgrader) path(name string) string { return u.Root + name }

func (u *Upgrader) progress(step string, done, total int64) {
	if u.Progress != nil {
		u.Progress(Progress{step, done, total})
	}
}

// lock keeps other upgrades away until it is closed.
func (u *Upgrader) lock() (io.Closer, error) {
	path := u.path(lockFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}

// counted says whether systemd-boot, or GRUB, counts this boot. It does, too, where it falls back to a version that has no
// attempt left.
func (u *Upgrader) counted() bool {
	if _, err := os.Stat(u.path(countedFile)); err == nil {
		return true
	}
	return u.Slots.CountedByGRUB()
}

// onTrial says whether the version that runs has to prove itself in this boot: it is the one that is remembered. Where none
// is, somebody may have brought a version by other means, and systemd-boot counts its boots. That it did is told for as long as
// the boot lasts; once the version was blessed its UKI has no count.
func (u *Upgrader) onTrial(r Record) (bool, error) {
	running, err := u.Slots.RunningRootHash()
	if err != nil {
		return false, err
	}
	if r.Trial != nil {
		return r.Trial.RootHash == running, nil
	}
	if !u.counted() {
		return false, nil
	}
	ukis, err := u.Slots.UKIs()
	return slices.ContainsFunc(ukis, func(uki slot.UKI) bool { return uki.RootHash == running && uki.Left != nil }), err
}
