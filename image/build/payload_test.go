// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestSignManifest: the manifest is as machines read it (daemon/upgrade has a test of the same file), and the signature is
// good for it and for nothing else.
func TestSignManifest(t *testing.T) {
	public, key, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	content := func(size int64, digit string) payloadContent {
		return payloadContent{Size: size, SHA256: strings.Repeat(digit, 64)}
	}
	m := payloadManifest{Format: 1, Version: "1.2.3", Profile: "metal", Architecture: "amd64", Kubernetes: "v1.37.2", RootHash: strings.Repeat("a", 64), SysextLevel: "1",
		Files: payloadFiles{
			Root:   payloadFile{"root.erofs.zst", content(10, "1"), content(20, "2")},
			Verity: payloadFile{"root.verity.zst", content(30, "3"), content(40, "4")},
			UKI:    payloadFile{"skerry.efi.zst", content(50, "5"), content(60, "6")},
		}}
	dir := t.TempDir()
	if err := signManifest(dir, m, key); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, payloadManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := os.ReadFile(filepath.Join(dir, payloadManifestFile+".minisig"))
	if err != nil {
		t.Fatal(err)
	}
	if !minisign.Verify(public, got, signature) || minisign.Verify(public, append([]byte(" "), got...), signature) {
		t.Error("the signature is not one of the manifest")
	}
	golden := filepath.Join("testdata", payloadManifestFile)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v: %s is not what is made here (-update rewrites it):\n%s", err, golden, got)
	}
}

// TestSigningKey: a key is read with and without a password, and what is none is told.
func TestSigningKey(t *testing.T) {
	_, key, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := minisign.EncryptKey("hunter2", key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv(payloadPassword, "hunter2")
	for name, data := range map[string][]byte{"plain": plain, "sealed": sealed} {
		if got, err := signingKey(write(name, data)); err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A wrong password would take as long again: minutes, on a slow machine.
	for name, want := range map[string]string{write("none", []byte("x")): "read the key", "": "-sign-key", "/nonexistent": "no such file"} {
		if _, err := signingKey(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}
