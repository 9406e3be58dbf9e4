// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/tests/scenario"
)

func TestSummaryEndsWithCounts(t *testing.T) {
	chosen := scenario.All[:3]
	good := scenario.Result{Scenario: chosen[0]}
	bad := scenario.Result{Scenario: chosen[1], Err: errors.New("no")}
	for _, tt := range []struct {
		name    string
		results []scenario.Result
		last    string
		fails   bool
	}{
		{"all pass", []scenario.Result{good, good, good}, "3 passed, 0 failed", false},
		{"one fails", []scenario.Result{good, bad, good}, "2 passed, 1 failed", true},
		{"interrupted", []scenario.Result{good}, "1 passed, 2 failed", true},
	} {
		var out strings.Builder
		err := summarize(&out, chosen, tt.results)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if last := lines[len(lines)-1]; last != tt.last || (err != nil) != tt.fails {
			t.Errorf("%s: ends with %q and %v, want %q", tt.name, last, err, tt.last)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		suite string
		names []string
		ok    bool
	}{
		{"test", nil, true},
		{"", []string{"server-ready"}, true},
		{"", nil, false},
		{"test", []string{"server-ready"}, false},
		{"", []string{"nothing"}, false},
	} {
		chosen, err := choose(tt.suite, tt.names)
		if (err == nil) != tt.ok || tt.ok && len(chosen) == 0 {
			t.Errorf("suite %q, names %q: got %d scenarios, %v", tt.suite, tt.names, len(chosen), err)
		}
	}
}

func TestListHasAll(t *testing.T) {
	var out strings.Builder
	if err := list(&out); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(out.String(), "\n"), len(scenario.All)+1; got != want {
		t.Errorf("the list has %d lines, want %d", got, want)
	}
}
