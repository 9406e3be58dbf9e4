// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/slot"
)

// TestPayloadManifest: what the builder writes is what is read here, every value of it.
func TestPayloadManifest(t *testing.T) {
	text, err := os.ReadFile("../../image/build/testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var m Manifest
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(m, "", "  ")
	if err != nil || string(again)+"\n" != string(text) {
		t.Errorf("it reads back as\n%s\n%v", again, err)
	}
	m.Architecture = runtime.GOARCH
	if err := m.check(m.Profile); err != nil {
		t.Error(err)
	}
}

// TestManifestProfile: a machine takes what is of its own profile. What doesn't say it is of the one there was first.
func TestManifestProfile(t *testing.T) {
	text, err := os.ReadFile("../../image/build/testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		release, payload string
		ok               bool
	}{
		{"VARIANT_ID=cloud\n", "cloud", true},
		{"VARIANT_ID=metal\n", "metal", true},
		{"VARIANT_ID=\"metal\"\n", "metal", true},
		{"VARIANT_ID=metal\n", "cloud", false},
		{"VARIANT_ID=cloud\n", "metal", false},
		{"VARIANT_ID=metal\n", "", false},
		{"", "metal", false},
		{"", "cloud", true},
		{"VARIANT_ID=cloud\n", "", true},
	} {
		r := slot.Reader{Root: t.TempDir()}
		release := filepath.Join(r.Root, "usr/lib/os-release")
		if err := os.MkdirAll(filepath.Dir(release), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(release, []byte("ID=skerry\n"+test.release), 0o600); err != nil {
			t.Fatal(err)
		}
		profile, err := r.Profile()
		if err != nil {
			t.Fatal(err)
		}
		var m Manifest
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		m.Architecture, m.Profile = runtime.GOARCH, test.payload
		err = m.check(profile)
		var no *RefusedError
		if (err == nil) != test.ok || err != nil && (!errors.As(err, &no) || !strings.Contains(err.Error(), "make payload PROFILE="+profile)) {
			t.Errorf("%q takes %q: %v", test.release, test.payload, err)
		}
	}
}
