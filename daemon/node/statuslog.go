// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"log/slog"
)

// statusHandler also reports warnings as the node's status: what keeps a node
// from joining must be on the machine's console, not in the journal alone.
type statusHandler struct {
	slog.Handler
	status func(string)
}

func (h statusHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		h.status(r.Message)
		return nil // the status is logged, too
	}
	return h.Handler.Handle(ctx, r)
}

func (h statusHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return statusHandler{h.Handler.WithAttrs(attrs), h.status}
}

func (h statusHandler) WithGroup(name string) slog.Handler {
	return statusHandler{h.Handler.WithGroup(name), h.status}
}
