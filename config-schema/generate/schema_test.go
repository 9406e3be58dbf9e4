// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestSchemaIsFresh(t *testing.T) {
	want, err := schema("..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../schema.json")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("schema.json is stale (%v): run go generate ./config-schema", err)
	}
}

func TestReferencePageIsFresh(t *testing.T) {
	want, err := reference("..")
	if err != nil {
		t.Fatal(err)
	}
	const name = "../../docs/reference/cloud-config.md"
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is stale (%v): run go generate ./config-schema", name, err)
	}
}

func TestK3sPageIsFresh(t *testing.T) {
	const name = "../../docs/reference/k3s-keys.md"
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, k3sPage()) {
		t.Errorf("%s is stale (%v): run go generate ./config-schema", name, err)
	}
}

func TestSplitDefault(t *testing.T) {
	for _, test := range []struct{ comment, text, fallback string }{
		{"Name of the node. The default is the hostname.", "Name of the node.", "the hostname"},
		{"File. The default is /etc/a.yaml. It is one.", "File. It is one.", "/etc/a.yaml"},
		{"Nothing.", "Nothing.", ""},
	} {
		if text, fallback := splitDefault(test.comment); text != test.text || fallback != test.fallback {
			t.Errorf("%q: got %q, %q", test.comment, text, fallback)
		}
	}
}

// TestReferences: every reference has its definition, and every definition is
// strict.
func TestReferences(t *testing.T) {
	data, err := schema("..")
	if err != nil {
		t.Fatal(err)
	}
	var root struct {
		Defs map[string]struct {
			AdditionalProperties *bool                      `json:"additionalProperties"`
			Properties           map[string]json.RawMessage `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	for _, after := range strings.Split(string(data), `"#/$defs/`)[1:] {
		name, _, _ := strings.Cut(after, `"`)
		if _, ok := root.Defs[name]; !ok {
			t.Errorf("no definition of %s", name)
		}
	}
	for name, definition := range root.Defs {
		if definition.AdditionalProperties == nil || *definition.AdditionalProperties || len(definition.Properties) == 0 {
			t.Errorf("%s lets unknown keys through, or has no keys", name)
		}
	}
}
