// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPackagesWithFuzzers(t *testing.T) {
	top := t.TempDir()
	for name, source := range map[string]string{
		"a/a_test.go":          "package a\n\nfunc FuzzA(f *testing.F) {}\n",
		"a/again_test.go":      "package a\n\nfunc FuzzB(f *testing.F) {}\n",
		"a/b/b_test.go":        "package b\n\nfunc TestB(t *testing.T) {}\n",
		"c/c.go":               "package c\n\nfunc FuzzC(f *testing.F) {}\n",
		"c/testdata/d_test.go": "package d\n\nfunc FuzzD(f *testing.F) {}\n",
		"build/e/e_test.go":    "package e\n\nfunc FuzzE(f *testing.F) {}\n",
		"other/go.mod":         "module other\n",
		"other/f_test.go":      "package other\n\nfunc FuzzF(f *testing.F) {}\n",
		"g/g_test.go":          "package g\n\n// FuzzG comes later.\nfunc Fuzzy() {}\n",
	} {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := packagesWithFuzzers(top)
	if err != nil || !slices.Equal(got, []string{"./a"}) {
		t.Errorf("got %v, %v; want ./a alone", got, err)
	}
	t.Chdir(t.TempDir())
	if err := run(t.Context(), &bytes.Buffer{}, time.Second, nil); err == nil || !strings.Contains(err.Error(), "no fuzzer") {
		t.Errorf("got %v where there is no fuzzer", err)
	}
}

// TestTheTreeHasFuzzers is for the pattern: it must find what is here.
func TestTheTreeHasFuzzers(t *testing.T) {
	got, err := packagesWithFuzzers("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"./config-schema", "./daemon/userdata", "./daemon/source"} {
		if !slices.Contains(got, pkg) {
			t.Errorf("%s has a fuzzer that is not found: only %v", pkg, got)
		}
	}
}
