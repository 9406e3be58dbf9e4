// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplaceIsAllOrNothingBeforeTheFirst(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := Replace(File{path("a"), []byte("1"), 0o600}, File{path("b"), []byte("2"), 0o644}); err != nil {
		t.Fatal(err)
	}
	check(t, path("a"), "1", 0o600)
	check(t, path("b"), "2", 0o644)
	// What can't be written is found out before anything has changed.
	if err := Replace(File{path("a"), []byte("3"), 0o600}, File{path("none/b"), []byte("4"), 0o644}); err == nil {
		t.Error("a file was written below a directory that isn't there")
	}
	check(t, path("a"), "1", 0o600)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")
	files := []File{{"a.key", []byte("key"), 0o600}, {"sub/a.crt", []byte("certificate"), 0o644}}
	if done, err := Commit(journal); done || err != nil {
		t.Errorf("without a journal: %t, %v", done, err)
	}
	for _, left := range []string{"", "a.key", "sub/a.crt"} {
		if err := Stage(journal, files); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(journal)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("the journal: %v, %v", info, err)
		}
		if staged, err := Staged(journal); err != nil || len(staged) != 2 || string(staged[1].Data) != "certificate" {
			t.Errorf("staged: %v, %v", staged, err)
		}
		// An earlier commit came as far as this file.
		if left != "" {
			if err := os.WriteFile(filepath.Join(dir, left), []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if done, err := Commit(journal); !done || err != nil {
			t.Fatalf("commit: %t, %v", done, err)
		}
		check(t, filepath.Join(dir, "a.key"), "key", 0o600)
		check(t, filepath.Join(dir, "sub/a.crt"), "certificate", 0o644)
		if _, err := os.Stat(journal); !os.IsNotExist(err) {
			t.Errorf("the journal is still there: %v", err)
		}
	}
}

func TestJournalDamaged(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(journal, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Commit(journal)
	if err == nil || !strings.Contains(err.Error(), journal) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a damaged journal: %v", err)
	}
}
