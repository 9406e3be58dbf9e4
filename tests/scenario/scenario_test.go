// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestEveryScenarioIsPresentable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All {
		if !regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`).MatchString(s.Name) || seen[s.Name] {
			t.Errorf("%q is no name, or not the only one", s.Name)
		}
		seen[s.Name] = true
		if s.Shows == "" || strings.Contains(s.Shows, "\n") {
			t.Errorf("%s: shows %q, want one line", s.Name, s.Shows)
		}
		if s.Suite != SuiteTest && s.Suite != SuiteAll {
			t.Errorf("%s: is in suite %q", s.Name, s.Suite)
		}
		if s.Run == nil {
			t.Errorf("%s: does nothing", s.Name)
		}
		file := strings.ReplaceAll(s.Name, "-", "_") + ".go"
		for _, kind := range []string{"source", "store", "ha"} { // the same for each cloud, each datastore
			if strings.HasPrefix(s.Name, kind+"-") && !exists(file) {
				file = kind + ".go"
			}
		}
		if !exists(file) {
			t.Errorf("%s: is not in a file %s", s.Name, file)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestSuites(t *testing.T) {
	test, err := InSuite(SuiteTest)
	if err != nil {
		t.Fatal(err)
	}
	all, err := InSuite(SuiteAll)
	if err != nil {
		t.Fatal(err)
	}
	if len(test) == 0 || len(all) != len(All) || len(test) >= len(all) {
		t.Errorf("suites have %d and %d of %d scenarios", len(test), len(all), len(All))
	}
	if _, err := InSuite("tset"); err == nil {
		t.Error("a suite that does not exist was found")
	}
}

func TestNamed(t *testing.T) {
	chosen, err := Named("agent-join", "server-ready")
	if err != nil || len(chosen) != 2 || chosen[0].Name != "server-ready" {
		t.Errorf("got %v, %v; want the two in the order of the table", chosen, err)
	}
	if _, err := Named("server-ready", "sever-ready"); err == nil || !strings.Contains(err.Error(), "sever-ready") {
		t.Errorf("got %v, want an error that names the unknown scenario", err)
	}
}

// TestManifestsAreFilled makes sure that no placeholder of a manifest is left over.
func TestManifestsAreFilled(t *testing.T) {
	known := regexp.MustCompile(`\$(NAMESPACE|IMAGE|NAME|NODE)\b|\$\(`)
	for name, manifest := range map[string]string{"web": webManifest, "diary": diaryManifest} {
		if rest := known.ReplaceAllString(manifest, ""); strings.Contains(rest, "$") {
			t.Errorf("%s: has a placeholder that nothing fills: %s", name, rest)
		}
	}
}

func TestIdentityTellsDifferences(t *testing.T) {
	before := identity{machineID: "a", hostKey: "k", nodes: "server-1 1"}
	if err := before.same(before); err != nil {
		t.Errorf("a machine differs from itself: %v", err)
	}
	after := before
	after.machineID, after.nodes = "b", "server-1 1, server-1-x 2"
	err := before.same(after)
	if err == nil || !strings.Contains(err.Error(), "machine-id") || !strings.Contains(err.Error(), "nodes") {
		t.Errorf("got %v, want both differences", err)
	}
}

func TestRefusalPatterns(t *testing.T) {
	// Lines as the node writes them; the console puts more around them.
	for _, tt := range []struct{ line, attempt string }{
		{"server https://192.168.127.11:6443 refused the token: check skerry.cluster.token; nothing was changed; trying again in 40s (attempt 5)", "5"},
	} {
		got := attempts.FindStringSubmatch(tt.line)
		if got == nil || got[1] != tt.attempt {
			t.Errorf("%q: attempt %v, want %s", tt.line, got, tt.attempt)
		}
	}
}

func TestCorruptionPattern(t *testing.T) {
	for _, line := range []string{
		"[    2.031] device-mapper: verity: 254:2: data block 0 is corrupted",
		"[    2.031] device-mapper: verity: 254:2: metadata block 3 is corrupted",
		"[    2.040] Kernel panic - not syncing: dm-verity device corrupted",
		"[    2.040] Kernel panic - not syncing: dm-verity device has corrupted blocks",
	} {
		if !corrupted.MatchString(line) {
			t.Errorf("%q is not recognized", line)
		}
	}
	if corrupted.MatchString(`device-mapper: verity: sha256 using "sha256-lib"`) {
		t.Error("a healthy line is taken for corruption")
	}
}

// TestWriterJudgesOnlyWhatWasAcknowledged checks the bookkeeping without a cluster.
func TestWriterJudgesOnlyWhatWasAcknowledged(t *testing.T) {
	w := &writer{state: map[string]string{}, doubt: map[string]bool{}}
	w.record("a", "one", nil)
	w.record("b", "one", nil)
	w.record("b", "two", errNoAnswer)
	w.record("c", "one", errNoAnswer)
	has := map[string]string{"a": "one", "b": "two"}
	if lost := w.lost(has); len(lost) != 0 {
		t.Errorf("lost %v, though all that was acknowledged without doubt is there", lost)
	}
	if lost := w.lost(map[string]string{"b": "one"}); len(lost) != 1 {
		t.Errorf("lost %v, want a", lost)
	}
	w.record("a", "", nil) // deleted
	if lost := w.lost(has); len(lost) != 1 {
		t.Errorf("lost %v, want the deletion of a", lost)
	}
}

var errNoAnswer = errors.New("no answer")
