// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// debianPackage is a package of which single files go into images. Its
// programs are static, so that nothing else of Debian is needed.
type debianPackage struct {
	name    string
	version string   // key in versions.env for its upstream version, or ""
	files   []string // path.Match patterns, without the leading slash
}

var debianPackages = []debianPackage{
	{"busybox-static", "BUSYBOX_VERSION", []string{"usr/bin/busybox", "usr/share/doc/busybox-static/copyright"}},
	{"catatonit", "CATATONIT_VERSION", []string{"usr/bin/catatonit", "usr/share/doc/catatonit/copyright"}},
	{"ca-certificates", "", []string{"usr/share/ca-certificates/mozilla/*.crt", "usr/share/doc/ca-certificates/copyright"}},
}

// fetchDebian downloads the packages and returns a directory with the wanted
// files, each below the name of its package. It asks for a download, not for
// an installation: that needs neither root nor what the packages depend on.
// mmdebstrap knows the release's mirror and keys on Debian and on Ubuntu.
func (b *builder) fetchDebian(ctx context.Context) (string, error) {
	start := time.Now()
	suite, err := b.versions.Get("DEBIAN_SUITE")
	if err != nil {
		return "", err
	}
	key := newKey("debian", suite, b.goenv.GOARCH, fmt.Sprintf("%+v", debianPackages))
	for _, p := range debianPackages {
		key.add(b.versions[p.version])
	}
	dir, cached, err := b.step("debian", key, func(dir string) error {
		return b.downloadDebian(ctx, suite, dir)
	})
	if err != nil {
		return "", fmt.Errorf("fetch Debian packages: %w", err)
	}
	detail := "fetched " + suite
	if cached {
		detail = "unchanged " + suite
	}
	b.progress(start, "debian", detail)
	return dir, nil
}

func (b *builder) downloadDebian(ctx context.Context, suite, dir string) error {
	debs, err := os.MkdirTemp("", "skerry-debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	var names []string
	for _, p := range debianPackages {
		names = append(names, p.name)
	}
	if _, err := output(exec.CommandContext(ctx, "mmdebstrap", "--variant=custom", "--architectures="+b.goenv.GOARCH,
		`--customize-hook=mkdir "$1/debs" && cd "$1/debs" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q download `+strings.Join(names, " "),
		"--customize-hook=sync-out /debs "+debs,
		suite, "/dev/null")); err != nil {
		return err
	}
	for _, p := range debianPackages {
		found, err := filepath.Glob(filepath.Join(debs, p.name+"_*.deb"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("want one package file of %s, got %q", p.name, found)
		}
		if err := b.checkDebianVersion(ctx, p, found[0]); err != nil {
			return err
		}
		if err := extractDeb(ctx, p, found[0], filepath.Join(dir, p.name)); err != nil {
			return fmt.Errorf("extract %s: %w", p.name, err)
		}
	}
	return nil
}

// checkDebianVersion fails when the release moved to another upstream version:
// the images' tags would lie.
func (b *builder) checkDebianVersion(ctx context.Context, p debianPackage, deb string) error {
	field, err := output(exec.CommandContext(ctx, "dpkg-deb", "--field", deb, "Version"))
	if err != nil {
		return err
	}
	full := strings.TrimSpace(field)
	if p.version != "" {
		want, err := b.versions.Get(p.version)
		if err != nil {
			return err
		}
		if got := upstreamVersion(full); got != want {
			return fmt.Errorf("%s is at %s, but versions.env pins %s=%s: read the package's changelog and update the pin",
				p.name, full, p.version, want)
		}
	}
	b.progress(time.Now(), "  "+p.name, full)
	return nil
}

// upstreamVersion strips epoch and Debian revision: 1:1.37.0-6+b9 is 1.37.0.
func upstreamVersion(version string) string {
	if _, after, found := strings.Cut(version, ":"); found {
		version = after
	}
	if dash := strings.LastIndex(version, "-"); dash >= 0 {
		version = version[:dash]
	}
	return version
}

func extractDeb(ctx context.Context, p debianPackage, deb, dir string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	unpackErr := unpackMatching(stdout, p.files, dir)
	// dpkg-deb can't finish while its output isn't read to the end.
	_, drainErr := io.Copy(io.Discard, stdout)
	return errors.Join(unpackErr, drainErr, cmd.Wait())
}

// unpackMatching writes the regular files of a tar that match a pattern into
// dir, and fails for a pattern that nothing matched.
func unpackMatching(r io.Reader, patterns []string, dir string) error {
	unmatched := map[string]bool{}
	for _, pattern := range patterns {
		unmatched[pattern] = true
	}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		for _, pattern := range patterns {
			match, err := path.Match(pattern, name)
			if err != nil {
				return err
			}
			if !match || header.Typeflag != tar.TypeReg {
				continue
			}
			delete(unmatched, pattern)
			data, err := io.ReadAll(archive)
			if err != nil {
				return err
			}
			if err := installData(data, filepath.Join(dir, name), header.FileInfo().Mode().Perm()); err != nil {
				return err
			}
		}
	}
	for pattern := range unmatched {
		return fmt.Errorf("no file matches %s", pattern)
	}
	return nil
}
