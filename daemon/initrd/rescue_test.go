// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestRescue(t *testing.T) {
	silent, _ := io.Pipe()
	left := errors.New("the shell was left")
	for _, test := range []struct {
		name     string
		in       io.Reader
		patience time.Duration
		want     error
	}{
		{"Enter", strings.NewReader("\n"), time.Hour, left},
		{"nobody", silent, time.Millisecond, nil},
		{"no console", strings.NewReader(""), time.Millisecond, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := rescue(t.Context(), test.in, &out, test.patience, func() error { return left }); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !strings.Contains(out.String(), "Press Enter for a rescue shell") {
				t.Errorf("it says %q", out.String())
			}
		})
	}
}
