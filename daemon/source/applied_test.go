// SPDX-License-Identifier: Apache-2.0

package source

import (
	"os"
	"path/filepath"
	"testing"
)

// TestApplied: a user-data stands in for the one that it has replaced, and for no
// other.
func TestApplied(t *testing.T) {
	a := &Applied{Dir: filepath.Join(t.TempDir(), "applied")}
	instead := func(given, want string) {
		t.Helper()
		data, err := a.Instead([]byte(given))
		if err != nil || string(data) != want {
			t.Errorf("instead of %q: %q, %v; want %q", given, data, err, want)
		}
	}
	instead("medium", "")
	if stale, err := a.Sweep([]byte("medium")); stale || err != nil {
		t.Errorf("nothing to sweep: %v, %v", stale, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := a.Put([]byte("medium"), []byte(text)); err != nil {
			t.Fatal(err)
		}
		instead("medium", text)
	}
	instead("another", "")
	if info, err := os.Stat(a.path([]byte("medium"))); err != nil || info.Mode() != stateFileMode {
		t.Errorf("%v, %v", info, err)
	}
	// The medium has been given another one, and later the first again.
	if stale, err := a.Sweep([]byte("another")); !stale || err != nil {
		t.Errorf("sweep: %v, %v", stale, err)
	}
	instead("medium", "")
	// To apply what the medium has is to go back to it.
	if err := a.Put([]byte("another"), []byte("three")); err != nil {
		t.Fatal(err)
	}
	if err := a.Put([]byte("another"), []byte("another")); err != nil {
		t.Fatal(err)
	}
	instead("another", "")
	if entries, err := os.ReadDir(a.Dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
