// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// hierarchies keeps /opt out, which is on DATA and would be hidden by what an extension has there.
	hierarchies = "SYSTEMD_SYSEXT_HIERARCHIES=/usr"
	// imagePolicy has systemd mount a root only when a trusted certificate has signed its hash tree (systemd.image-policy(7)).
	imagePolicy = "--image-policy=root=signed:=absent"
	// maxRelease is far beyond what an extension-release file needs, in bytes.
	maxRelease = 1 << 16
)

// sysext runs systemd-sysext.
func (s *Set) sysext(ctx context.Context, args ...string) (string, error) {
	return s.Run(ctx, "/usr/bin/env", append([]string{hierarchies, "systemd-sysext"}, args...)...)
}

// inspect has systemd verify and mount an image below a folder of its own, and reads what it says of itself. /usr is not
// touched: an image that is refused there would take all others with it.
func (s *Set) inspect(ctx context.Context, name, image string) (release Release, err error) {
	if err := s.checkSigner(image); err != nil {
		return release, err
	}
	root := filepath.Join(s.path(StoreDir), inspectName)
	if err := s.endInspection(ctx, root); err != nil { // that of a daemon that was killed
		return release, err
	}
	defer func() { err = errors.Join(err, s.endInspection(context.WithoutCancel(ctx), root)) }()
	host, err := os.ReadFile(s.path(releaseFile))
	if err != nil {
		return release, err
	}
	for _, dir := range []string{"usr/lib", "etc", "run/extensions"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return release, err
		}
	}
	if err := os.WriteFile(filepath.Join(root, releaseFile), host, 0o600); err != nil {
		return release, err
	}
	// Links are followed below the folder only.
	if err := os.Link(image, filepath.Join(root, "run/extensions", name+ending)); err != nil {
		return release, err
	}
	// --force is for the version alone, which is compared in words afterwards; what isn't signed is not mounted.
	if _, err := s.sysext(ctx, "--root="+root, imagePolicy, "--force", "--no-reload", "merge"); err != nil {
		return release, fmt.Errorf("systemd doesn't accept its signature or its content: %w", err)
	}
	text, err := readBelow(root, "usr/lib/extension-release.d/extension-release."+name)
	if errors.Is(err, fs.ErrNotExist) {
		return release, fmt.Errorf("it has no /usr/lib/extension-release.d/extension-release.%s: is %s its name?", name, name)
	}
	if err != nil {
		return release, fmt.Errorf("read what it says of itself: %w", err)
	}
	if now, err := readBelow(root, releaseFile[1:]); err != nil || !bytes.Equal(now, host) {
		return release, errors.New("it has a /usr/lib/os-release, and would take that of the system away")
	}
	return newRelease(string(text)), nil
}

// inspectName is the folder of the store where an image is looked at. No extension has a name like it.
const inspectName = ".inspect"

func (s *Set) endInspection(ctx context.Context, root string) error {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := s.sysext(ctx, "--root="+root, "--no-reload", "unmerge"); err != nil {
		return fmt.Errorf("unmount what was looked at in %s: %w", root, err)
	}
	return os.RemoveAll(root)
}

// readBelow reads a small file below a folder, out of which no link leads.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxRelease))
}
