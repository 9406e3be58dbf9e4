// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"testing"
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
	if err := m.check(); err != nil {
		t.Error(err)
	}
}
