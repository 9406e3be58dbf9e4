// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// imagePrefix can't be mistaken for a registry that answers: .local is never
// delegated, so a lost image fails to pull instead of coming from a stranger.
const imagePrefix = "skerry.local/"

// nonroot is the user of every image that doesn't need root; the number is the
// one which distroless images made usual.
const nonroot = "65532:65532"

const (
	passwdFile = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n"
	groupFile  = "root:x:0:\nnonroot:x:65532:\n"
)

// image is a container image that ships with the OS.
type image struct {
	name       string
	version    string // key in versions.env
	title      string
	home       string // where the program comes from
	license    string
	user       string
	entrypoint []string
	cmd        []string
	files      func(*imageSources) (tree, error)
}

// ref is the name the image has on a node.
func (i image) ref(version string) string { return imagePrefix + i.name + ":" + version }

// imageSources are the places that files of an image come from.
type imageSources struct {
	ctx      context.Context
	programs map[string]string // built programs, by name
	debian   string            // files of Debian packages, below the package's name
}

var images = []image{
	{
		name: "coredns", version: "COREDNS_VERSION", title: "CoreDNS", license: "Apache-2.0",
		home: "https://github.com/coredns/coredns", user: nonroot, entrypoint: []string{"/coredns"},
		files: func(s *imageSources) (tree, error) {
			t, err := s.program("coredns")
			if err != nil {
				return nil, err
			}
			// A Corefile may forward to a resolver over TLS.
			t["/etc/ssl/certs/ca-certificates.crt"], err = s.certificates()
			return t, err
		},
	},
	{
		name: "local-path-provisioner", version: "LOCAL_PATH_VERSION", title: "Local Path Provisioner", license: "Apache-2.0",
		home: "https://github.com/rancher/local-path-provisioner", user: nonroot, entrypoint: []string{"/local-path-provisioner"},
		files: func(s *imageSources) (tree, error) { return s.program("local-path-provisioner") },
	},
	{
		name: "metrics-server", version: "METRICS_SERVER_VERSION", title: "Kubernetes Metrics Server", license: "Apache-2.0",
		home: "https://github.com/kubernetes-sigs/metrics-server", user: nonroot, entrypoint: []string{"/metrics-server"},
		files: func(s *imageSources) (tree, error) { return s.program("metrics-server") },
	},
	{
		name: "pause", version: "CATATONIT_VERSION", title: "catatonit, holding a pod's namespaces", license: "GPL-2.0-or-later",
		home: "https://github.com/openSUSE/catatonit", user: "65535:65535", entrypoint: []string{"/catatonit", "-P"},
		files: func(s *imageSources) (tree, error) {
			return s.debianFiles("catatonit", map[string]string{"/catatonit": "usr/bin/catatonit"})
		},
	},
	{
		// The helper pods of local-path run as root: they make directories in
		// a directory of root's.
		name: "busybox", version: "BUSYBOX_VERSION", title: "BusyBox", license: "GPL-2.0-only",
		home: "https://busybox.net", user: "0:0", cmd: []string{"/bin/sh"},
		files: func(s *imageSources) (tree, error) { return s.busybox() },
	},
}

func (s *imageSources) program(name string) (tree, error) {
	data, err := os.ReadFile(s.programs[name])
	if err != nil {
		return nil, err
	}
	return tree{
		"/" + name:    {mode: 0o755, data: data},
		"/etc/passwd": {mode: 0o644, data: []byte(passwdFile)},
		"/etc/group":  {mode: 0o644, data: []byte(groupFile)},
	}, nil
}

// debianFiles puts files of a package, and its licence, where the image wants
// them.
func (s *imageSources) debianFiles(pkg string, places map[string]string) (tree, error) {
	places["/usr/share/doc/"+pkg+"/copyright"] = "usr/share/doc/" + pkg + "/copyright"
	t := tree{}
	for place, name := range places {
		file := filepath.Join(s.debian, pkg, name)
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		t[place] = entry{mode: int64(info.Mode().Perm()), data: data}
	}
	return t, nil
}

// busybox asks the program which applets it has: the list is Debian's choice.
func (s *imageSources) busybox() (tree, error) {
	t, err := s.debianFiles("busybox-static", map[string]string{"/bin/busybox": "usr/bin/busybox"})
	if err != nil {
		return nil, err
	}
	list, err := output(exec.CommandContext(s.ctx, filepath.Join(s.debian, "busybox-static/usr/bin/busybox"), "--list"))
	if err != nil {
		return nil, err
	}
	for _, applet := range strings.Fields(list) {
		if applet != "busybox" {
			t["/bin/"+applet] = entry{link: "busybox"}
		}
	}
	if _, ok := t["/bin/sh"]; !ok {
		return nil, fmt.Errorf("busybox has no sh applet")
	}
	t["/etc/passwd"] = entry{mode: 0o644, data: []byte(strings.ReplaceAll(passwdFile, "/root:/sbin/nologin", "/root:/bin/sh"))}
	t["/etc/group"] = entry{mode: 0o644, data: []byte(groupFile)}
	t["/root"] = entry{mode: 0o700, dir: true}
	t["/tmp"] = entry{mode: 0o1777, dir: true}
	return t, nil
}

// certificates is the bundle that Debian's update-ca-certificates would make.
func (s *imageSources) certificates() (entry, error) {
	files, err := filepath.Glob(filepath.Join(s.debian, "ca-certificates/usr/share/ca-certificates/mozilla/*.crt"))
	if err != nil {
		return entry{}, err
	}
	var bundle bytes.Buffer
	for _, file := range files { // Glob sorts
		data, err := os.ReadFile(file)
		if err != nil {
			return entry{}, err
		}
		bundle.Write(data)
	}
	return entry{mode: 0o644, data: bundle.Bytes()}, nil
}

// build makes the image: one layer, nothing of the build's time or place.
func (i image) build(b *builder, s *imageSources, version string) (v1.Image, error) {
	files, err := i.files(s)
	if err != nil {
		return nil, err
	}
	layer, err := files.layer(b.created)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: b.created}, CreatedBy: "skerry " + b.versions["SKERRY_VERSION"]},
	})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: b.created}
	config.OS, config.Architecture = "linux", b.goenv.GOARCH
	config.Config = v1.Config{
		User: i.user, Entrypoint: i.entrypoint, Cmd: i.cmd, WorkingDir: "/",
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    i.title,
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.source":   i.home,
			"org.opencontainers.image.licenses": i.license,
			"org.opencontainers.image.vendor":   "Skerry",
		},
	}
	return mutate.ConfigFile(img, config)
}

// writeImages writes images/NAME.tar for each image; images/SHA256SUMS, by
// which a node knows the ones it has imported already; and images/SET, the
// hash of SHA256SUMS, as the name of them all.
func (b *builder) writeImages(ctx context.Context, programs map[string]string, debian string) error {
	start := time.Now()
	key := newKey("images", fmt.Sprint(b.versions), b.goenv.GOARCH, b.created.Unix(), filepath.Base(debian))
	for _, i := range images {
		key.add(filepath.Base(filepath.Dir(programs[i.name]))) // the key of the step that built it
	}
	if err := key.addFiles(filepath.Join(b.source, "image/components/build"), "*.go"); err != nil {
		return err
	}
	sources := &imageSources{ctx: ctx, programs: programs, debian: debian}
	dir, cached, err := b.step("images", key, func(dir string) error { return b.buildImages(sources, dir) })
	if err != nil {
		return err
	}
	if cached {
		b.progress(start, "images", "unchanged")
	}
	return installDir(dir, filepath.Join(b.out, "images"), 0o644)
}

func (b *builder) buildImages(sources *imageSources, dir string) error {
	sums := map[string]string{}
	for _, i := range images {
		start := time.Now()
		version, err := b.versions.Get(i.version)
		if err != nil {
			return err
		}
		img, err := i.build(b, sources, version)
		if err != nil {
			return fmt.Errorf("build image %s: %w", i.name, err)
		}
		archive, err := layoutArchive(img, i.ref(version), b.created)
		if err != nil {
			return fmt.Errorf("write image %s: %w", i.name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, i.name+".tar"), archive, 0o644); err != nil {
			return err
		}
		sum := sha256.Sum256(archive)
		sums[i.name+".tar"] = hex.EncodeToString(sum[:])
		b.progress(start, "image "+i.name, fmt.Sprintf("%s %.1f MB", version, float64(len(archive))/1e6))
	}
	list := sumsFile(sums)
	set := sha256.Sum256([]byte(list))
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(list), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "SET"), []byte(hex.EncodeToString(set[:])+"\n"), 0o644)
}

// sumsFile is what sha256sum prints for the files, sorted by name, so that
// `sha256sum -c` checks it.
func sumsFile(sums map[string]string) string {
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&list, "%s  %s\n", sums[name], name)
	}
	return list.String()
}
