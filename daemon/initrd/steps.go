// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/reset"
)

// root is the root file system being prepared.
type root struct {
	dir         string // of the mounted root
	run         string // survives the move to the root
	stateDevice string
	dataDevice  string
	cmdline     string // the kernel's command line, as a file
	units       string // systemd's folder for units of this boot, which survives, too
	mounter     mounter
	check       func(ctx context.Context, device string) error // checks and repairs a file system
	repart      func(ctx context.Context, args ...string) (said string, err error)
	partitions  string // where udev names partitions by their labels
	mappings    string // where what is open of encrypted ones is
	tpm         string // the TPM's device
	settle      func(ctx context.Context, link string) error
	attach      func(ctx context.Context, name, device, keyFile string) (said string, err error)
	detach      func(ctx context.Context, name string) error
	ask         func(ctx context.Context, prompt string) (typed string, err error)
	reboot      func() error // doesn't return, but when it fails
	out         io.Writer
}

// step is one thing to do. It must be right to do it again.
type step struct {
	name string
	run  func(ctx context.Context, r *root) error
}

// steps are done in this order: each needs those before it.
func steps() []step {
	return []step{
		{"forget what was typed", func(_ context.Context, r *root) error { return r.forgetPassphrase() }},
		{"mount STATE on /state", mountState},
		{"mount DATA on /var", mountData},
		{"fill /var", fillVar},
		{"lay a tmpfs over /etc", overlayEtc},
		{"set machine-id", setMachineID},
		{"bind /etc/rancher and /etc/ssh/keys from STATE", bindState},
		{"units of a live system, on one", liveRoot},
		{"read programs ahead", readAhead},
	}
}

func (r *root) prepare(ctx context.Context, list []step) error {
	for _, s := range list {
		started := time.Now()
		if err := s.run(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(r.out, "skerry-initrd: %s (%d ms)\n", s.name, time.Since(started).Milliseconds())
	}
	return nil
}

// path returns the place of a path of the running machine.
func (r *root) path(name string) string { return filepath.Join(r.dir, name) }

// stateFlags: the partition holds keys and passwords, nothing to run.
const stateFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func mountState(ctx context.Context, r *root) error {
	return r.mountDevice(ctx, r.stateDevice, "/state", stateFlags)
}

// mountData allows programs and set-uid bits: containers run from /var.
func mountData(ctx context.Context, r *root) error {
	return r.mountDevice(ctx, r.dataDevice, "/var", unix.MS_NOATIME)
}

// mountDevice does nothing where a mount unit was first, which has also checked
// the file system.
func (r *root) mountDevice(ctx context.Context, device, target string, flags uintptr) error {
	target = r.path(target)
	mounted, err := r.mounter.mounted(target)
	if err != nil || mounted {
		return err
	}
	if err := waitFor(ctx, device); err != nil {
		return err
	}
	if err := r.check(ctx, device); err != nil {
		return err
	}
	return r.mounter.mount(device, target, "ext4", flags, "")
}

// waitFor waits for a device: udev makes its name some time after systemd-repart
// has made the partition.
func waitFor(ctx context.Context, path string) error {
	err := poll(ctx, func() (bool, error) {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	})
	if ctx.Err() != nil {
		return fmt.Errorf("%s did not appear: %w", path, err)
	}
	return err
}

// poll asks until it is told that it is so.
func poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ask(); err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// overlayEtc makes /etc writable for the time of one boot. What is true of the
// machine is rendered into it at each boot; what must stay is bound into it.
func overlayEtc(_ context.Context, r *root) error {
	etc := r.path("/etc")
	mounted, err := r.mounter.mounted(etc)
	if err != nil || mounted {
		return err
	}
	layer := filepath.Join(r.run, "etc")
	if err := os.MkdirAll(layer, 0o755); err != nil {
		return err
	}
	mounted, err = r.mounter.mounted(layer)
	if err != nil {
		return err
	}
	if !mounted {
		// A tmpfs of its own, so that a full /etc doesn't fill /run.
		if err := r.mounter.mount("tmpfs", layer, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=64m"); err != nil {
			return err
		}
	}
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	for _, dir := range []string{upper, work} {
		// The mode of upper becomes that of /etc.
		if err := ensureDir(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", etc, upper, work)
	return r.mounter.mount("overlay", etc, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options)
}

// setMachineID makes the machine-id once, on STATE, and copies it into /etc
// before systemd of the root looks for it: that one would invent another, and
// take every boot for the first.
func setMachineID(_ context.Context, r *root) error {
	file := r.path("/state/machine-id")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(r.run, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.run, reset.NewFile), nil, 0o600); err != nil {
			return err
		}
	}
	id, err := identity.EnsureMachineID(file)
	if err != nil {
		return err
	}
	target := r.path(identity.MachineIDFile)
	return renameio.WriteFile(target, []byte(id+"\n"), 0o444,
		renameio.WithTempDir(filepath.Dir(target)), renameio.WithStaticPermissions(0o444))
}

// binds are the folders of STATE that are seen below /etc. The last ones are
// only made: what is below them comes with them.
var binds = []struct {
	state  string
	mode   fs.FileMode
	target string
}{
	{"/state/rancher", 0o755, "/etc/rancher"},
	{"/state/ssh", 0o700, "/etc/ssh/keys"},
	{"/state/rancher/node", 0o755, ""},
	{"/state/rancher/k3s", 0o755, ""},
}

func bindState(_ context.Context, r *root) error {
	for _, b := range binds {
		source := r.path(b.state)
		if err := ensureDir(source, b.mode); err != nil {
			return err
		}
		if b.target == "" {
			continue
		}
		target := r.path(b.target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		mounted, err := r.mounter.mounted(target)
		if err != nil {
			return err
		}
		if mounted {
			continue
		}
		if err := r.mounter.mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// ensureDir makes a folder with exactly a mode, whatever the umask.
func ensureDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", path)
	}
	if info.Mode()&(fs.ModePerm|fs.ModeSticky) != mode {
		return os.Chmod(path, mode)
	}
	return nil
}
