// SPDX-License-Identifier: Apache-2.0

// Package extension lays signed images over /usr: tools, drivers, firmware that the image lacks.
//
// An image is a disk image with a file system, its dm-verity hash tree, and the signature of that tree's top
// (systemd-sysext(8), systemd-repart(8)). It is fetched to DATA and kept there (store.go), looked at below a folder of its
// own, where systemd verifies it as it does for /usr (inspect.go), compared with the version that runs (release.go), and
// merged by systemd-sysext with all others (merge.go). What is merged is what the configuration says, and nothing else:
// images and folders that are in systemd's folders without being named there are refused.
//
// No extension keeps a machine from booting: what is wrong with one is for the console and the status.
package extension

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// Where things are.
const (
	// StoreDir has the copies. It is on DATA: they may be large, and there is no node without DATA either.
	StoreDir = "/var/lib/skerry/extensions"
	// mergedFile has what is merged in this boot.
	mergedFile = "/run/skerry/extensions.json"
	// linksDir is where systemd-sysext finds what it is to merge.
	linksDir = "/run/extensions"
	// releaseFile says which system this is. An extension can't replace it.
	releaseFile = "/usr/lib/os-release"
)

// foreignDirs are systemd's other folders for extensions, in the order that it looks through them; linksDir comes between.
const (
	volatileDir   = "/etc/extensions" // made anew by each boot
	persistentDir = "/var/lib/extensions"
)

// certificateDirs have the certificates that systemd trusts to sign, *.crt (systemd-veritysetup, libcryptsetup's users).
var certificateDirs = []string{"/etc/verity.d", "/run/verity.d", "/usr/local/lib/verity.d", "/usr/lib/verity.d"}

// State is how an extension stands. Its values are part of `skerry extension list -o json`.
type State string

const (
	// Merged is for what is in /usr.
	Merged State = "merged"
	// Waiting is for what is to be fetched, once there is a network.
	Waiting State = "waiting"
	// Refused is for what isn't signed by a trusted certificate, or for another system.
	Refused State = "refused"
	// Failed is for what could not be fetched or merged.
	Failed State = "failed"
)

// Status is that of one extension.
type Status struct {
	Name    string `json:"name" yaml:"name"`
	Version string `json:"version,omitempty" yaml:"version,omitempty"` // its own, where it has one
	State   State  `json:"state" yaml:"state"`
	// Reason is why it isn't merged, or why it is an earlier copy that is.
	Reason string `json:"reason,omitempty" yaml:"reason,omitempty"`
	// Source is where the image is from.
	Source string `json:"source,omitempty" yaml:"source,omitempty"`
}

// Set is the extensions of this machine.
type Set struct {
	// Root is put before all paths, in tests.
	Root string
	// Run runs a program, and returns what it printed; its errors have its words.
	Run func(ctx context.Context, program string, args ...string) (string, error)
	// Versions are those of Skerry that this machine has, whose extensions are kept. Nil for the one that runs.
	Versions func(ctx context.Context) ([]string, error)
	Client   *http.Client
	Log      *slog.Logger

	mu  sync.Mutex
	all []Status // since the last Apply
}

// New returns those of the machine that this process runs on.
func New(log *slog.Logger) *Set {
	return &Set{Root: "/", Run: runProgram, Client: NewClient(), Log: log}
}

// runProgram returns what a program prints to standard output, and with its error what it says on the other.
func runProgram(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if text := strings.TrimSpace(words.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, strings.Join(strings.Split(text, "\n"), "; "))
	}
	return string(out), err
}

func (s *Set) path(name string) string { return filepath.Join(s.Root, name) }

// below is a path as the machine has it, without Root.
func (s *Set) below(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, filepath.Clean(s.Root)), "/")
}

// Status returns how the extensions stand since the last Apply.
func (s *Set) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// Missing says whether some of these are not merged. Nil has none.
func (s *Set) Missing(wanted []configschema.Extension) bool {
	if s == nil {
		return false
	}
	all := s.Status()
	return slices.ContainsFunc(wanted, func(w configschema.Extension) bool {
		return !slices.ContainsFunc(all, func(one Status) bool { return one.Name == w.Name && one.State == Merged })
	})
}

// Problems are those that somebody should look at, in a line each.
func (s *Set) Problems() []string {
	var lines []string
	for _, one := range s.Status() {
		if one.Reason != "" && one.State != Waiting {
			lines = append(lines, one.String())
		}
	}
	return lines
}

func (s Status) String() string {
	if s.Reason == "" {
		return "extension " + s.Name + ": " + string(s.State)
	}
	return "extension " + s.Name + ": " + string(s.State) + ": " + s.Reason
}

// Mode says what Apply may do.
type Mode int

const (
	// Offline takes only copies that are there. It is for the time before the network.
	Offline Mode = 1
	// Online fetches what is missing.
	Online Mode = 2
)

// candidate is an image that may be merged.
type candidate struct {
	file    string // of the store
	release Release
}

// Apply merges the extensions of a configuration, and nothing else. What goes wrong with one is in its status, and on the
// console.
func (s *Set) Apply(ctx context.Context, wanted []configschema.Extension, mode Mode) []Status {
	lock, err := s.lock(ctx)
	if err != nil {
		s.Log.Error("extensions: none is looked at", "error", err)
		return nil
	}
	defer lock.Close()
	var all []Status
	chosen := map[string]candidate{}
	host, err := s.host()
	if err != nil {
		s.Log.Error("extensions: which system this is can't be read, and none is merged", "error", err)
		return nil
	}
	for _, w := range wanted {
		one := Status{Name: w.Name, Source: origin(w, host.Version)}
		found, state, err := s.choose(ctx, w, host, mode)
		if found != nil {
			chosen[w.Name] = *found
			one.Version = found.release.Own
		}
		one.State = state
		if err != nil {
			one.Reason = err.Error()
		}
		all = append(all, one)
	}
	all = append(all, s.keepOut(chosen)...)
	if err := s.merge(ctx, chosen); err != nil {
		for i := range all {
			if all[i].State == Merged {
				all[i].State, all[i].Reason = Failed, err.Error()
			}
		}
	} else {
		s.prove(chosen)
	}
	s.tell(all)
	return all
}

// tell keeps the status, and says on the console what has changed of it.
func (s *Set) tell(all []Status) {
	s.mu.Lock()
	before := s.all
	s.all = all
	s.mu.Unlock()
	for _, one := range all {
		if slices.Contains(before, one) {
			continue
		}
		switch {
		case one.State == Merged && one.Reason == "":
			s.Log.Info(one.String(), "version", one.Version)
		case one.State == Merged:
			s.Log.Warn(one.String())
		case one.State == Waiting:
			s.Log.Info(one.String())
		default:
			s.Log.Error(one.String())
		}
	}
}

// choose finds the image of an extension that is merged: the one that is wanted, or else the one that was merged last.
func (s *Set) choose(ctx context.Context, w configschema.Extension, host Host, mode Mode) (*candidate, State, error) {
	file, err := s.copyOf(w, host.Version)
	if err != nil && mode == Offline {
		return nil, Waiting, err
	}
	fetched := false
	if err != nil {
		file, err = s.fetch(ctx, w, host.Version)
		fetched = err == nil
	}
	state := Failed
	if err == nil {
		var found *candidate
		if found, err = s.admit(ctx, w.Name, file, host); err == nil {
			return found, Merged, nil
		}
		state = Refused
		if fetched {
			s.forget(file) // the next boot looks whether there is a better one
		}
	}
	if proven, ok := s.proven(w.Name); ok && proven != file {
		if found, provenErr := s.admit(ctx, w.Name, proven, host); provenErr == nil {
			return found, Merged, &heldBackError{err}
		}
	}
	return nil, state, err
}

// heldBackError is for an extension of which an earlier copy is merged.
type heldBackError struct{ why error }

func (e *heldBackError) Error() string {
	return "it is the copy of before, for " + e.why.Error()
}

// admit looks at an image, and refuses what isn't for this system.
func (s *Set) admit(ctx context.Context, name, file string, host Host) (*candidate, error) {
	release, err := s.inspect(ctx, name, file)
	if err != nil {
		return nil, err
	}
	if err := release.Fits(host); err != nil {
		return nil, err
	}
	return &candidate{file: file, release: release}, nil
}
