// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestResetRelease: systemd-boot sorts by IMAGE_ID first, so that no reset comes before a version.
func TestResetRelease(t *testing.T) {
	b := &build{options: options{profile: defaultProfile}, versions: versions{"SKERRY_VERSION": "1.2.3"}}
	id := func(release string) string {
		_, rest, _ := strings.Cut(release, "\nIMAGE_ID=")
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
	ours, reset := id(b.osRelease()), id(resetRelease(b.osRelease()))
	if ours == "" || reset <= ours {
		t.Errorf("entries are sorted by %q, that of a reset by %q", ours, reset)
	}
}
