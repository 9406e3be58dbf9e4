// SPDX-License-Identifier: Apache-2.0

package source

import (
	"os"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/tests/metadata"
)

// settled checks what must be true of every document of a cloud, whatever the
// cloud has said: it can be kept, and its hostname is one.
func settled(t *testing.T, a *answer) {
	t.Helper()
	a.instanceID = "i-1"
	d, err := a.document("test", "test")
	if err != nil {
		return // user-data that can't be unpacked
	}
	if d.InstanceID != "i-1" {
		t.Errorf("the instance-id is %q after it was written", d.InstanceID)
	}
	if problem := configschema.CheckHostname(d.LocalHostname); d.LocalHostname != "" && problem != "" {
		t.Errorf("hostname: %s", problem)
	}
	for _, key := range d.PublicKeys {
		if strings.ContainsAny(key, "\n") {
			t.Errorf("a key of several lines: %q", key)
		}
	}
}

func FuzzOVF(f *testing.F) {
	env, err := os.ReadFile("testdata/ovf-env.xml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(env)
	f.Add([]byte("<Environment><ProvisioningSection/></Environment>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := parseOVF(data); err == nil {
			settled(t, a)
		}
	})
}

func FuzzOpenStackMetaData(f *testing.F) {
	f.Add((&metadata.OpenStack{Machine: plain}).Files()["meta_data.json"])
	f.Add(`{"uuid": "1e3", "hostname": "A b..c-", "public_keys": null}`)
	f.Fuzz(func(t *testing.T, data string) {
		if a, err := openStackAnswer([]byte(data), nil, nil, nil); err == nil {
			settled(t, a)
		}
	})
}

func FuzzMetaData(f *testing.F) {
	for _, seed := range []string{"instance-id: 0123\nlocal-hostname: a\n", "public-keys: {a: [b], c: d}\n", "public-keys: [[[a]]]\n", "instance-id: ~\n", "a: &a [*a]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		meta, err := parseMetaData([]byte(data))
		if err != nil {
			return
		}
		// What the kernel command line adds must not change the rest.
		d := &Document{InstanceID: string(meta.InstanceID), LocalHostname: meta.LocalHostname, PublicKeys: meta.PublicKeys}
		if err := (Given{LocalHostname: "given"}).apply(d); err != nil {
			t.Fatal(err)
		}
		again, err := parseMetaData(d.MetaData)
		if err != nil || again.InstanceID != meta.InstanceID || again.LocalHostname != "given" || len(again.PublicKeys) != len(meta.PublicKeys) {
			t.Errorf("%q became %q: %v", data, d.MetaData, err)
		}
	})
}
