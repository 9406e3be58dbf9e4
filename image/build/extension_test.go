// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckExtension(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"key", "good/usr/bin/tool", "driver/usr/lib/modules/6.12/x.ko", "opt/usr/bin/a", "opt/opt/b", "release/usr/lib/os-release"} {
		if err := writeFile(filepath.Join(dir, name), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	for _, test := range []struct{ name, tree, key, want string }{
		{"tool", "good", key, ""},
		{"nic-driver_1.x", "driver", key, ""},
		{"../tool", "good", key, "is not the name"},
		{"tool.raw", "good", key, "is not the name"},
		{strings.Repeat("a", 65), "good", key, "is not the name"},
		{"tool", "good", "", "is signed"},
		{"tool", "good", key + "x", "is no file"},
		{"tool", "good", dir, "is no file"},
		{"tool", "opt", key, "has opt"},
		{"tool", "release", key, "os-release"},
		{"tool", "empty", key, "is empty"},
		{"tool", "nowhere", key, "no such file"},
	} {
		o := options{extension: test.name, tree: filepath.Join(dir, test.tree), signKey: test.key, signCert: key}
		err := o.checkExtension()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
}

func TestExtensionRelease(t *testing.T) {
	dir := t.TempDir()
	b := &build{options: options{extension: "tool", tree: dir, extensionVersion: "6.1"}, arch: architectures[defaultArchitecture], versions: versions{"SKERRY_VERSION": "1.2.3", "SYSEXT_LEVEL": "4"}}
	if got, want := b.extensionRelease(false), "ID=skerry\nARCHITECTURE=x86-64\nSYSEXT_LEVEL=4\nIMAGE_VERSION=6.1\n"; got != want || b.extensionFile() != "tool.raw" || len(b.extensionSteps()) != 1 {
		t.Errorf("a tool has %q, want %q, is called %s, and takes %d steps", got, want, b.extensionFile(), len(b.extensionSteps()))
	}
	if err := os.MkdirAll(filepath.Join(dir, extensionModulesDir), 0o755); err != nil {
		t.Fatal(err)
	}
	b.extensionVersion = ""
	if got, want := b.extensionRelease(true), "ID=skerry\nARCHITECTURE=x86-64\nVERSION_ID=1.2.3\nEXTENSION_RELOAD_MANAGER=1\n"; got != want || b.extensionFile() != "tool-1.2.3.raw" || len(b.extensionSteps()) != 2 {
		t.Errorf("a driver has %q, want %q, is called %s, and takes %d steps", got, want, b.extensionFile(), len(b.extensionSteps()))
	}
}
