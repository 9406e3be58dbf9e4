// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// medium is a source with one document, or an error.
type medium struct {
	document *source.Document
	err      error
}

func (m medium) Name() string { return "medium" }

func (m medium) Fetch(context.Context) (*source.Document, error) { return m.document, m.err }

func user(text string) medium {
	return medium{document: &source.Document{Source: "medium", Name: "the medium", UserData: []byte(text)}}
}

// loader asks media only, and then the copy in a folder of its own.
func loader(t *testing.T, local ...source.Source) *Loader {
	t.Helper()
	return &Loader{
		Sources: &source.Set{Local: local, Kept: &source.State{Dir: t.TempDir()}}, Around: machineID(t), Log: quiet,
	}
}

// machineID returns the surroundings of a machine that has nothing else.
func machineID(t *testing.T) Surroundings {
	t.Helper()
	path := filepath.Join(t.TempDir(), "machine-id")
	if err := os.WriteFile(path, []byte("0123456789abcdef0123456789abcdef\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	return Surroundings{MachineID: path}
}

func TestHostname(t *testing.T) {
	for _, test := range []struct{ name, userData, local, hostname, fqdn, err string }{
		{name: "user-data", userData: "hostname: a\n", local: "b", hostname: "a", fqdn: "a"},
		{name: "fqdn", userData: "fqdn: a.example.org\n", local: "b", hostname: "a", fqdn: "a.example.org"},
		{name: "meta-data", local: "b.example.org", hostname: "b", fqdn: "b.example.org"},
		{name: "machine-id", hostname: "skerry-01234567", fqdn: "skerry-01234567"},
		{name: "bad meta-data", local: "B_1", err: "local-hostname"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := user("#cloud-config\n" + test.userData)
			m.document.LocalHostname = test.local
			loaded, err := loader(t, m).Local(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if loaded.Hostname != test.hostname || loaded.FQDN != test.fqdn {
				t.Errorf("got %q, %q", loaded.Hostname, loaded.FQDN)
			}
		})
	}
}

func TestLoadOrder(t *testing.T) {
	absent := medium{err: source.ErrAbsent}
	broken := medium{err: errors.New("input/output error")}
	for _, test := range []struct {
		name     string
		sources  []source.Source
		hostname string
		err      string
	}{
		{name: "first", sources: []source.Source{user("#cloud-config\nhostname: a\n"), user("#cloud-config\nhostname: b\n")}, hostname: "a"},
		{name: "second", sources: []source.Source{absent, user("#cloud-config\nhostname: b\n")}, hostname: "b"},
		{name: "none", sources: []source.Source{absent, absent}, err: ErrNone.Error()},
		{name: "broken stops", sources: []source.Source{broken, user("#cloud-config\nhostname: b\n")}, err: "input/output error"},
		{name: "invalid stops", sources: []source.Source{user("#cloud-config\nhostnme: a\n"), user("#cloud-config\n")}, err: `user-data:2:1: hostnme: unknown key (did you mean "hostname"?)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			loaded, err := loader(t, test.sources...).Local(t.Context())
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %v, want %q", err, test.err)
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err == "" && loaded.Hostname != test.hostname:
				t.Errorf("got %q", loaded.Hostname)
			}
		})
	}
}

// TestKeep: what was valid boots the machine again without its medium, and what
// was not valid doesn't replace it.
func TestKeep(t *testing.T) {
	l := loader(t, user("#cloud-config\nhostname: a\n"))
	if _, err := l.Local(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Sources.Local = []source.Source{user("#cloud-config\nhostname: [\n")}
	var problems configschema.Problems
	if _, err := l.Local(t.Context()); !errors.As(err, &problems) {
		t.Fatalf("got %v, want problems", err)
	}
	l.Sources.Local = []source.Source{medium{err: source.ErrAbsent}}
	loaded, err := l.Local(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Hostname != "a" || loaded.Document.Source != "state" || loaded.InstanceID != "" {
		t.Errorf("got %q from %s, instance %q", loaded.Hostname, loaded.Document.Source, loaded.InstanceID)
	}
}

// TestKeepFails: a full STATE doesn't stop a machine that has a configuration.
func TestKeepFails(t *testing.T) {
	l := loader(t, user("#cloud-config\n"))
	l.Sources.Kept = &source.State{Dir: filepath.Join(t.TempDir(), "missing")}
	if _, err := l.Local(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConsole(t *testing.T) {
	problems := configschema.Problems{{File: "user-data", Line: 12, Column: 3, Path: "skerry.cluster.tokn",
		Message: "unknown key\x1b[2J", Hint: `did you mean "token"?`}}
	text := strings.Join(Console(problems), "\n")
	if !strings.Contains(text, `user-data:12:3: skerry.cluster.tokn: unknown key?[2J (did you mean "token"?)`) {
		t.Errorf("the problem is not there as it should be:\n%s", text)
	}
	if !strings.Contains(text, "skerry config validate user-data\n") {
		t.Errorf("how to check it is not there:\n%s", text)
	}
	problems = append(problems, configschema.Problem{File: "network-config", Line: 1, Column: 1, Message: "x"})
	if text := strings.Join(Console(problems), "\n"); !strings.Contains(text, "skerry config validate user-data network-config\n") {
		t.Errorf("how to check both is not there:\n%s", text)
	}
	problems = problems[:1]
	for range 30 {
		problems = append(problems, problems[0])
	}
	lines := Console(problems)
	if len(lines) > consoleProblems+12 || !strings.Contains(strings.Join(lines, "\n"), "... and 11 more") {
		t.Errorf("%d lines for %d problems:\n%s", len(lines), len(problems), strings.Join(lines, "\n"))
	}
}
