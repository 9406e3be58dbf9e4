// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// lineHandler writes log records for people: the message, then its attributes.
// Time and program are left out, for the journal and the console add them; the
// priority is told in the way the journal reads it from standard output.
type lineHandler struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string // attributes of With
}

func newLineHandler(w io.Writer) *lineHandler { return &lineHandler{mu: &sync.Mutex{}, w: w} }

// priorities are those of syslog(3), as sd-daemon(3) wants them.
func priority(level slog.Level) int {
	switch {
	case level >= slog.LevelError:
		return 3
	case level >= slog.LevelWarn:
		return 4
	case level >= slog.LevelInfo:
		return 6
	default:
		return 7
	}
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>%s%s", priority(r.Level), r.Message, h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(attribute(a))
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	prefix := h.prefix
	for _, a := range attrs {
		prefix += attribute(a)
	}
	return &lineHandler{mu: h.mu, w: h.w, prefix: prefix}
}

func (h *lineHandler) WithGroup(string) slog.Handler { return h }

func attribute(a slog.Attr) string {
	value := a.Value.Resolve().String()
	if strings.ContainsAny(value, " \"=") {
		return fmt.Sprintf(" %s=%q", a.Key, value)
	}
	return fmt.Sprintf(" %s=%s", a.Key, value)
}
