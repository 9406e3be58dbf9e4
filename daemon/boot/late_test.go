// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/config"
)

// TestStagesAfterOneThatFails: what the node doesn't depend on fails alone, and
// the console says so.
func TestStagesAfterOneThatFails(t *testing.T) {
	var console syncBuffer
	b := &Boot{Log: slog.New(slog.NewTextHandler(&console, nil))}
	var ran []string
	stage := func(name string, err error) apply.Stage {
		return apply.Stage{Name: name, Run: func(context.Context, *apply.Machine, *config.Loaded) error {
			ran = append(ran, name)
			return err
		}}
	}
	b.applyAll(t.Context(), []apply.Stage{stage("one", errors.New("no answer")), stage("two", nil)})
	if !slices.Equal(ran, []string{"one", "two"}) || !strings.Contains(console.String(), "apply one: no answer") {
		t.Errorf("ran %q, the console says\n%s", ran, console.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran = nil
	cancel()
	b.applyAll(ctx, []apply.Stage{stage("one", errors.New("interrupted")), stage("two", nil)})
	if !slices.Equal(ran, []string{"one"}) || strings.Contains(console.String(), "interrupted") {
		t.Errorf("a daemon that is being stopped ran %q", ran)
	}
}
