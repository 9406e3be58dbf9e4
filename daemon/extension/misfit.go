// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// Misfits looks at the extensions that are merged as another version would, and returns those that it would refuse, with the
// reason. One that isn't merged now is nothing to lose. An image of which the URL names the version is fetched for that one,
// so that it is there at its first boot.
func (s *Set) Misfits(ctx context.Context, wanted []configschema.Extension, next Host) ([]Status, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	host, err := s.host()
	if err != nil {
		return nil, err
	}
	next.ID = host.ID
	have, err := s.mergedNow()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Status
	for _, w := range wanted {
		if have.Links[w.Name] == "" {
			continue
		}
		if err := s.fitsNext(ctx, w, next); err != nil {
			all = append(all, Status{Name: w.Name, State: Refused, Reason: err.Error(), Source: origin(w, next.Version)})
		}
	}
	return all, ctx.Err()
}

func (s *Set) fitsNext(ctx context.Context, w configschema.Extension, next Host) error {
	file, err := s.copyOf(w, next.Version)
	if err != nil && !strings.Contains(w.URL, configschema.ExtensionVersion) {
		// It is what the next version begins with, if its server is away.
		if proven, ok := s.proven(w.Name); ok {
			file, err = proven, nil
		}
	}
	fetched := err != nil
	if fetched {
		if file, err = s.fetch(ctx, w, next.Version); err != nil {
			return err
		}
	}
	if _, err = s.admit(ctx, w.Name, file, next); err != nil && fetched {
		s.forget(file) // there may be a better one when it is asked for again
	}
	return err
}
