// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"aead.dev/minisign"
)

// TestSums: sha256sum takes the file, and the signature is of it; without a key there is none.
func TestSums(t *testing.T) {
	public, key, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"", secret} {
		b := &build{options: options{out: t.TempDir(), signKey: file, profile: defaultProfile}, arch: architectures[defaultArchitecture], versions: versions{"SKERRY_VERSION": "1.2.3"}}
		var s sums
		for _, name := range []string{"b", "a"} {
			path := filepath.Join(b.out, name)
			if err := writeFile(path, "content of "+name); err != nil {
				t.Fatal(err)
			}
			content, err := contentOf(path)
			if err != nil {
				t.Fatal(err)
			}
			s.add(name, content)
		}
		if err := b.writeSums(s); err != nil {
			t.Fatal(err)
		}
		list := filepath.Join(b.out, sumsFile)
		cmd := exec.Command("sha256sum", "--check", "--strict", sumsFile)
		cmd.Dir = b.out
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "a: OK\nb: OK\n" {
			t.Errorf("sha256sum: %v\n%s", err, out)
		}
		signature, err := os.ReadFile(list + ".minisig")
		switch {
		case file == "" && !os.IsNotExist(err):
			t.Errorf("a signature without a key: %v", err)
		case file != "" && (err != nil || !minisign.Verify(public, readFile(t, list), signature)):
			t.Errorf("%v: the signature is not one of the list", err)
		}
	}
}
