// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestState(t *testing.T) {
	s := &State{Dir: t.TempDir()}
	if _, err := s.Fetch(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Fatalf("an empty STATE: got %v", err)
	}
	first := &Document{UserData: []byte("#cloud-config\n"), MetaData: []byte("instance-id: i-1\npublic-keys: [k]\n"), NetworkConfig: []byte("version: 2\n")}
	drive := &Document{
		UserData: []byte("#cloud-config\n"), NetworkConfig: []byte("{}"), NetworkConfigKind: OpenStackNetwork, VendorData: []byte("v"),
	}
	second := &Document{UserData: []byte("#cloud-config\nhostname: b\n")}
	for _, document := range []*Document{first, first, second, drive, first} {
		if err := s.Keep(document); err != nil {
			t.Fatal(err)
		}
		got, err := s.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(got.UserData) != string(document.UserData) || string(got.MetaData) != string(document.MetaData) ||
			string(got.NetworkConfig) != string(document.NetworkConfig) || string(got.VendorData) != string(document.VendorData) ||
			got.Source != "state" {
			t.Errorf("kept %+v, got %+v", document, got)
		}
		if document.NetworkConfigKind != "" && got.NetworkConfigKind != document.NetworkConfigKind {
			t.Errorf("kept %q, got %q", document.NetworkConfigKind, got.NetworkConfigKind)
		}
		entries, err := os.ReadDir(s.Dir)
		if err != nil || len(entries) != 2 {
			t.Errorf("the link and its folder, and no more: %v, %v", entries, err)
		}
	}
	if got, _ := s.Fetch(t.Context()); got.InstanceID != "i-1" || len(got.PublicKeys) != 1 {
		t.Errorf("instance-id %q, keys %q", got.InstanceID, got.PublicKeys)
	}
	checkMode(t, filepath.Join(s.Dir, stateLink), 0o700)
	checkMode(t, filepath.Join(s.Dir, stateLink, userDataFile), 0o600)
}

// TestStateUnchangedIsNotWritten: flash wears out.
func TestStateUnchangedIsNotWritten(t *testing.T) {
	s := &State{Dir: t.TempDir()}
	d := &Document{UserData: []byte("#cloud-config\n")}
	if err := s.Keep(d); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir, stateLink, userDataFile)
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(d); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written again: %v", err)
	}
}

// TestStateAfterPowerCut puts the folder into the states a power cut can leave.
func TestStateAfterPowerCut(t *testing.T) {
	old := &Document{UserData: []byte("#cloud-config\nhostname: old\n"), MetaData: []byte("instance-id: old\n")}
	fresh := &Document{UserData: []byte("#cloud-config\nhostname: new\n")}
	for name, cut := range map[string]func(t *testing.T, s *State){
		"half a folder": func(t *testing.T, s *State) {
			dir := filepath.Join(s.Dir, "."+statePrefix+"123")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, userDataFile), "#cloud-conf")
		},
		"folder without link": func(t *testing.T, s *State) {
			other := &State{Dir: t.TempDir()}
			if err := other.Keep(fresh); err != nil {
				t.Fatal(err)
			}
			name, err := os.Readlink(filepath.Join(other.Dir, stateLink))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(s.Dir, name), os.DirFS(filepath.Join(other.Dir, name))); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &State{Dir: t.TempDir()}
			if err := s.Keep(old); err != nil {
				t.Fatal(err)
			}
			cut(t, s)
			if got, err := s.Fetch(t.Context()); err != nil || string(got.UserData) != string(old.UserData) {
				t.Fatalf("after the cut: %+v, %v", got, err)
			}
			if err := s.Keep(fresh); err != nil {
				t.Fatal(err)
			}
			got, err := s.Fetch(t.Context())
			if err != nil || string(got.UserData) != string(fresh.UserData) || got.MetaData != nil {
				t.Fatalf("after keeping the new one: %+v, %v", got, err)
			}
			if entries, _ := os.ReadDir(s.Dir); len(entries) != 2 {
				t.Errorf("left over: %v", entries)
			}
		})
	}
}

// TestStateRepairs: a file that went bad is replaced by the right one.
func TestStateRepairs(t *testing.T) {
	s := &State{Dir: t.TempDir()}
	d := &Document{UserData: []byte("#cloud-config\n")}
	if err := s.Keep(d); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(t, filepath.Join(s.Dir, stateLink, userDataFile), "damaged")
		if err := s.Keep(d); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Fetch(t.Context()); err != nil || string(got.UserData) != string(d.UserData) {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
}

func TestStateTooLarge(t *testing.T) {
	s := &State{Dir: t.TempDir()}
	if err := s.Keep(&Document{UserData: []byte("#"), MetaData: []byte(strings.Repeat("#", maxMetaData+1))}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context()); err == nil {
		t.Error("accepted")
	}
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}
