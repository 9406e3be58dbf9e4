// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/include"
	"github.com/skerry-os/skerry/daemon/source"
)

// TestInstead: a file is looked at in the place of what the medium has, and
// becomes what later boots have when it is kept: until the medium has another.
func TestInstead(t *testing.T) {
	m := user("#cloud-config\nhostname: medium\n")
	m.document.InstanceID = "i-1"
	l := loader(t, m)
	l.Sources.Applied = &source.Applied{Dir: filepath.Join(t.TempDir(), "applied")}
	boot := func(want string) *Loaded {
		t.Helper()
		next := *l
		next.Instead, next.Look = nil, false
		loaded, err := next.Load(t.Context())
		if err != nil || loaded.Hostname != want {
			t.Fatalf("got %+v, %v; want %s", loaded, err, want)
		}
		return loaded
	}
	kept := func(want string) {
		t.Helper()
		if d, err := l.Sources.Kept.Fetch(t.Context()); err != nil || string(d.UserData) != want {
			t.Errorf("kept %+v, %v; want %q", d, err, want)
		}
	}
	boot("medium")
	l.Look = true

	l.Instead = &Instead{Name: "server.yaml", Data: []byte("#cloud-config\nhostnme: a\n")}
	_, err := l.Load(t.Context())
	var problems configschema.Problems
	if !errors.As(err, &problems) || !strings.HasPrefix(problems[0].String(), "server.yaml:2:1: hostnme") {
		t.Errorf("a mistake in the file: %v", err)
	}
	l.Instead = &Instead{Name: "server.yaml", Data: []byte("#cloud-config\nhostname: applied\n")}
	loaded, err := l.Load(t.Context())
	if err != nil || loaded.Hostname != "applied" || loaded.InstanceID != "i-1" {
		t.Fatalf("got %+v, %v", loaded, err)
	}
	boot("medium") // it was looked at only
	if err := l.Keep(loaded); err != nil {
		t.Fatal(err)
	}
	if again := boot("applied"); again.Layers.UserData[0].Name != appliedName {
		t.Errorf("the layer is called %q", again.Layers.UserData[0].Name)
	}
	kept("#cloud-config\nhostname: medium\n")

	l.Sources.Local = nil // the medium is detached
	boot("applied")
	other := user("#cloud-config\nhostname: later\n")
	l.Sources.Local = []source.Source{other}
	boot("later")
	l.Sources.Local = []source.Source{m}
	boot("medium") // what was applied is forgotten
}

// TestHeld: what is looked at leaves no copies of what it includes.
func TestHeld(t *testing.T) {
	dir := t.TempDir()
	w := &web{up: true, text: "#cloud-config\nhostname: included\n"}
	copies := &include.Kept{Fetcher: w, Dir: dir, Log: quiet}
	l := loader(t, user("#include\nhttps://h/x\n"))
	held, keep := Surroundings{MachineID: l.Around.MachineID, Fetcher: copies, AtHand: copies.AtHand()}.Held()
	l.Around, l.Look = held, true
	if loaded, err := l.Load(t.Context()); err != nil || loaded.Hostname != "included" {
		t.Fatalf("got %+v, %v", loaded, err)
	}
	count := func() int {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	if n := count(); n != 0 {
		t.Errorf("%d copies of what was looked at", n)
	}
	if err := keep(); err != nil || count() != 1 {
		t.Errorf("%d copies of what is kept, %v", count(), err)
	}
}
