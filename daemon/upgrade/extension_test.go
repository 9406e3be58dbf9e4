// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestMisfits: a version that would boot without an extension is refused before anything is fetched, unless that is wanted.
func TestMisfits(t *testing.T) {
	m := newMachine(t)
	var misfits []string
	var failure error
	m.Misfits = func(_ context.Context, version, level string) ([]string, error) {
		if version != "1.1.0" || level != "2" {
			t.Errorf("asked for is %s with level %s", version, level)
		}
		return misfits, failure
	}
	from := folder(m.payload("1.1.0", func(p *Manifest) { p.SysextLevel = "2" }))
	before := m.snapshot()
	misfits = []string{"nic-driver: it is for Skerry 1.0.0, and this is 1.1.0"}
	_, err := m.Apply(t.Context(), from, Choice{})
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), misfits[0]) || !strings.Contains(err.Error(), "--without-extensions") {
		t.Errorf("got %v", err)
	}
	failure = errors.New("no space")
	if _, err := m.Apply(t.Context(), from, Choice{WithoutExtensions: true}); !errors.Is(err, failure) {
		t.Errorf("got %v, want what is wrong with the check", err)
	}
	if after := m.snapshot(); after != before {
		t.Errorf("it was refused, and has changed\n%s\nto\n%s", before, after)
	}
	failure = nil
	if _, err := m.Apply(t.Context(), from, Choice{WithoutExtensions: true}); err != nil {
		t.Errorf("it is wanted all the same: %v", err)
	}
	misfits = nil
	if _, err := m.Apply(t.Context(), from, Choice{}); err != nil {
		t.Errorf("everything fits: %v", err)
	}
}
