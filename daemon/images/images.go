// SPDX-License-Identifier: Apache-2.0

// Package images brings container images from archives on disk into
// containerd: those that ship with the OS, and those that the user put into
// the agent's images directory, as K3s does.
//
// An archive is imported once. A stamp remembers it, but a stamp alone is not
// believed: each image it names must still be whole and unpacked, or the
// archive is imported again. So a start with nothing to do costs a few
// look-ups, and a node whose containerd directory was wiped heals by itself.
//
// Nothing here pulls from a registry.
package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Where things are on a node.
const (
	Address     = "/run/k3s/containerd/containerd.sock"
	Namespace   = "k8s.io" // where containerd keeps what is of Kubernetes
	PackagedDir = "/usr/share/skerry/images"
	UserDir     = "/var/lib/rancher/k3s/agent/images"
	StampDir    = "/var/lib/rancher/k3s/agent/images-imported"
)

// Store is the part of containerd that an import needs.
type Store interface {
	// Import reads a tar of images (OCI layout or docker-archive), unpacks
	// them, pins them against the kubelet's garbage collection, and returns
	// their names. It fails when there is no image with a name in it.
	Import(ctx context.Context, archive io.Reader) ([]string, error)
	// ImportPackaged does the same with an archive of the OS image, without
	// keeping the layers. The layers' digests are not computed when the
	// archive is vouched for.
	ImportPackaged(ctx context.Context, file string, vouched bool) ([]string, error)
	// Complete says whether the image is there and unpacked, that is: whether
	// a container can start from it.
	Complete(ctx context.Context, name string) (bool, error)
	// Unpin gives the image to the kubelet's garbage collection. An image
	// that is not there is no error.
	Unpin(ctx context.Context, name string) error
}

// Importer imports the archives of two directories.
type Importer struct {
	Store    Store
	Packaged string // directory of the OS image, with SHA256SUMS
	User     string // directory of the user's archives, walked recursively
	Stamps   string // directory of stamps, made when missing
	Log      *slog.Logger
}

// Run imports what is not there yet. An archive that can't be imported is
// logged and does not stop the others; the joined errors are returned, each
// naming its file.
func (i *Importer) Run(ctx context.Context) error {
	packaged, packagedErr := packagedArchives(i.Packaged)
	user, userErr := userArchives(i.User)
	errs := []error{packagedErr, userErr}
	if err := os.MkdirAll(i.Stamps, 0o755); err != nil {
		return fmt.Errorf("make directory for stamps: %w", err)
	}

	// The smallest first: pause is among them, and no pod starts without it.
	bySize := func(a, b archive) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.path, b.path)) }
	slices.SortFunc(packaged, bySize)
	slices.SortFunc(user, bySize)

	current := map[string]bool{} // keys of the archives that are there
	named := map[string]bool{}   // images they brought
	for _, a := range append(packaged, user...) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		current[a.key] = true
		names, err := i.importOnce(ctx, a)
		if err != nil {
			i.Log.Error("can't import images", "archive", a.path, "error", err)
			errs = append(errs, fmt.Errorf("import images from %s: %w", a.path, err))
		}
		for _, name := range names {
			named[name] = true
		}
	}
	// After a failure the names are not all known: leave old images pinned.
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return i.forgetOld(ctx, current, named)
}

// importOnce imports the archive unless its stamp and the store agree that it
// has been, and returns the images in it.
func (i *Importer) importOnce(ctx context.Context, a archive) ([]string, error) {
	stamp := filepath.Join(i.Stamps, a.key)
	if names, err := readStamp(stamp); err == nil {
		lost, err := i.lost(ctx, names)
		if err != nil {
			return names, err
		}
		if len(lost) == 0 {
			return names, nil
		}
		i.Log.Warn("images are lost, importing them again", "archive", a.path, "images", lost)
	}

	start := time.Now()
	names, err := i.importNow(ctx, a)
	if err != nil {
		return nil, err
	}
	i.Log.Info("imported images", "archive", a.path, "images", strings.Join(names, " "),
		"took", time.Since(start).Round(time.Millisecond))
	if err := renameio.WriteFile(stamp, []byte(strings.Join(names, "\n")+"\n"), 0o644); err != nil {
		return names, fmt.Errorf("write stamp: %w", err)
	}
	return names, nil
}

func (i *Importer) importNow(ctx context.Context, a archive) ([]string, error) {
	if a.packaged {
		// dm-verity checks each block of the OS image as it is read, against
		// the root hash that the kernel was started with: damage is an error
		// of the read, not another content. SHA256SUMS lies beside the
		// archives and is no better than they are; it only names them. A
		// directory elsewhere has neither, so its layers are hashed.
		return i.Store.ImportPackaged(ctx, a.path, i.Packaged == PackagedDir)
	}
	content, err := a.open()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return i.Store.Import(ctx, content)
}

// lost returns those of the images that no container could start from.
func (i *Importer) lost(ctx context.Context, names []string) ([]string, error) {
	var lost []string
	for _, name := range names {
		complete, err := i.Store.Complete(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look for image %s: %w", name, err)
		}
		if !complete {
			lost = append(lost, name)
		}
	}
	return lost, nil
}

// forgetOld removes the stamps of archives that are gone, as after an upgrade,
// and unpins the images that only they brought. It does not delete them: a pod
// may still run from one, and the kubelet knows.
func (i *Importer) forgetOld(ctx context.Context, current, named map[string]bool) error {
	stamps, err := os.ReadDir(i.Stamps)
	if err != nil {
		return fmt.Errorf("list stamps: %w", err)
	}
	for _, entry := range stamps {
		if current[entry.Name()] || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		stamp := filepath.Join(i.Stamps, entry.Name())
		names, err := readStamp(stamp)
		if err != nil {
			return err
		}
		for _, name := range names {
			if named[name] {
				continue
			}
			if err := i.Store.Unpin(ctx, name); err != nil {
				return fmt.Errorf("unpin image %s: %w", name, err)
			}
			i.Log.Info("image may be garbage-collected now: its archive is gone", "image", name)
		}
		if err := os.Remove(stamp); err != nil {
			return fmt.Errorf("remove stamp: %w", err)
		}
	}
	return nil
}

// readStamp returns the images that a stamp names. An empty stamp is an error:
// no archive is stamped without an image.
func readStamp(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(data))
	if len(names) == 0 {
		return nil, fmt.Errorf("stamp %s names no image", path)
	}
	return names, nil
}
