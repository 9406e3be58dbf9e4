// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/renameio/v2"
)

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	put := func(name string, at time.Time) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	// As renameio names them: this fails when it does otherwise.
	left, err := renameio.NewPendingFile(filepath.Join(dir, "token"), renameio.WithTempDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left.Name(), old, old); err != nil {
		t.Fatal(err)
	}
	put(".passwd4839234823984234", old)
	put("passwd", old)
	put(".hidden", old)
	put(".config.yaml", old)
	put("job-1234567890123", old)
	put(".token5839234823984234", time.Now())
	if err := os.Mkdir(filepath.Join(dir, ".dir1234567890123"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(dir, filepath.Join(dir, "none")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{".config.yaml", ".dir1234567890123", ".hidden", ".token5839234823984234", "job-1234567890123", "passwd"}
	if !slices.Equal(names, want) {
		t.Errorf("left %q, want %q", names, want)
	}
}
