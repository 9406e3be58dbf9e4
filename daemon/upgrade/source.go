// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
)

// Source is where a payload is. It is used by one goroutine.
type Source interface {
	// Open opens one of its files at an offset in bytes. A source that can't begin there begins at 0, and says so. The error
	// of one that isn't there is fs.ErrNotExist.
	Open(ctx context.Context, name string, offset int64) (content io.ReadCloser, at int64, err error)
	// String is where it is, without passwords: once it was opened, as exactly as it is known then.
	String() string
	// Close lets go of what it holds. It is called last.
	Close() error
}

// Source makes a source of what people write.
func (u *Upgrader) Source(text string) (Source, error) {
	if text == "" {
		return nil, errors.New("where is the payload? Name it, or set skerry.upgrade.source: a URL of https://, http:// or oci://, disk:, or a path")
	}
	at, err := configschema.ParseUpgradeSource(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("where is the payload? %w: name it as a URL of https://, http://, file:// or oci://, as disk:LABEL/PATH, or as a path", err)
	case at.Web != nil:
		return &web{base: at.Web}, nil
	case at.Image != nil:
		return &registry{image: at.Image, from: u.Registries}, nil
	case at.Volume != "":
		return &volume{label: at.Volume, path: at.Path, find: source.NewVolumes(u.Log).Labelled}, nil
	}
	return folder(at.Path), nil
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(ctx context.Context, s Source, name string, limit int64) ([]byte, error) {
	content, _, err := s.Open(ctx, name, 0)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, limit+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("fetch %s: it has more than %d bytes", name, limit)
	}
	return data, nil
}
