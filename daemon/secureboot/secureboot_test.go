// SPDX-License-Identifier: Apache-2.0

package secureboot

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The programs of testdata are the addon stub of ../efiaddon/testdata, signed by systemd-sbsign, and sbsign.efi by sbsign. The keys
// are gone.
const unsigned = "../efiaddon/testdata/addon.stub"

// firmware makes variables as the kernel shows them, and returns what goes before their paths.
func firmware(t *testing.T, values map[string][]byte) string {
	t.Helper()
	root := t.TempDir()
	for name, value := range values {
		if err := os.MkdirAll(filepath.Dir(root+name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+name, append([]byte{6, 0, 0, 0}, value...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestStateOf(t *testing.T) {
	for _, test := range []struct {
		values map[string][]byte
		want   State
	}{
		{nil, Unsupported},
		{map[string][]byte{setupMode: {0}}, Unsupported},
		{map[string][]byte{secureBoot: {1}, setupMode: {0}}, Enabled},
		{map[string][]byte{secureBoot: {0}, setupMode: {0}}, Disabled},
		{map[string][]byte{secureBoot: {0}, setupMode: {1}}, Setup},
		{map[string][]byte{secureBoot: {0}}, Disabled},
	} {
		if got, err := StateOf(firmware(t, test.values)); err != nil || got != test.want {
			t.Errorf("%v: got %q, %v, want %q", test.values, got, err, test.want)
		}
	}
	for _, value := range [][]byte{{}, {1, 0}} {
		if _, err := StateOf(firmware(t, map[string][]byte{secureBoot: value})); err == nil {
			t.Errorf("%v is taken", value)
		}
	}
}

// list makes an EFI_SIGNATURE_LIST.
func list(kind string, signatures ...[]byte) []byte {
	var all []byte
	for _, s := range signatures {
		out := append([]byte(kind), make([]byte, 12)...)
		binary.LittleEndian.PutUint32(out[16:], uint32(listHeaderSize+ownerSize+len(s)))
		binary.LittleEndian.PutUint32(out[24:], uint32(ownerSize+len(s)))
		all = append(all, append(append(out, make([]byte, ownerSize)...), s...)...)
	}
	return all
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWouldStart(t *testing.T) {
	owner, authority, leaf := read(t, "testdata/owner.der"), read(t, "testdata/authority.der"), read(t, "testdata/leaf.der")
	parsed, err := x509.ParseCertificate(owner)
	if err != nil {
		t.Fatal(err)
	}
	tbs := sha256.Sum256(parsed.RawTBSCertificate)
	p, err := readProgram(unsigned)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "changed.efi")
	data := read(t, "testdata/owner.efi")
	data[0x300] ^= 1
	if err := os.WriteFile(changed, data, 0o644); err != nil {
		t.Fatal(err)
	}
	const (
		byOwner = "testdata/owner.efi"
		byLeaf  = "testdata/leaf.efi"
	)
	for _, test := range []struct {
		what, file string
		db, dbx    []byte
		want       string // "" for one that is started
	}{
		{"signed by who is trusted", byOwner, list(kindX509, authority, owner), nil, ""},
		{"signed by another tool", "testdata/sbsign.efi", list(kindX509, owner), nil, ""},
		{"signed by whom an authority vouches for", byLeaf, list(kindX509, authority), nil, ""},
		{"signed by a leaf that is trusted itself", byLeaf, list(kindX509, leaf), nil, ""},
		{"signed by a stranger", byOwner, list(kindX509, authority), nil, `it is signed by "CN=owner of the machine" (`},
		{"signed by a stranger", byOwner, list(kindX509, authority), nil, `), and the firmware trusts "CN=an authority" (`},
		{"nobody is trusted", byOwner, nil, nil, "the firmware trusts nobody's certificate"},
		{"not signed", unsigned, list(kindX509, owner), nil, "it is not signed, and Secure Boot is on"},
		{"not signed, and trusted by its hash", unsigned, list(kindSHA256, p.digest[:]), nil, ""},
		{"signed, and trusted by its hash alone", byOwner, list(kindSHA256, p.digest[:]), nil, ""},
		{"a hash that is forbidden", byOwner, list(kindX509, owner), list(kindSHA256, p.digest[:]), "must not be started"},
		{"a signer who is forbidden", byOwner, list(kindX509, owner), list(kindX509, owner), "must not be started"},
		{"a signer who is forbidden by hash", byOwner, list(kindX509, owner), list(kindX509SHA256, append(tbs[:], make([]byte, 16)...)), "must not be started"},
		{"an authority that is forbidden", byLeaf, list(kindX509, leaf), list(kindX509, authority), "must not be started"},
		{"others are forbidden", byOwner, list(kindX509, owner), list(kindX509, authority), ""},
		{"changed after it was signed", changed, list(kindX509, owner), nil, `it isn't what "CN=owner of the machine"`},
		{"no program", "secureboot.go", list(kindX509, owner), nil, "is no EFI program"},
	} {
		root := firmware(t, map[string][]byte{secureBoot: {1}, setupMode: {0}, trusted: test.db, forbidden: test.dbx})
		err := WouldStart(root, test.file)
		var failure *UntrustedError
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.what, err)
		case test.want != "" && (!errors.As(err, &failure) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %q", test.what, err, test.want)
		}
		for _, state := range []map[string][]byte{nil, {secureBoot: {0}, setupMode: {1}, trusted: test.db}} {
			if err := WouldStart(firmware(t, state), test.file); err != nil {
				t.Errorf("%s: with Secure Boot off it isn't started: %v", test.what, err)
			}
		}
	}
}

// TestDigest compares the hash of a program with the one that was signed: signing changes nothing of it.
func TestDigest(t *testing.T) {
	for _, file := range []string{"testdata/owner.efi", "testdata/leaf.efi", "testdata/sbsign.efi"} {
		p, err := readProgram(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.signatures) != 1 || string(p.signatures[0].digest) != string(p.digest[:]) {
			t.Errorf("%s: %d signatures, the hash is %x", file, len(p.signatures), p.digest)
		}
	}
}

func FuzzProgram(f *testing.F) {
	for _, file := range []string{unsigned, "testdata/owner.efi", "testdata/leaf.efi"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseProgram(strings.NewReader(string(data)), int64(len(data)))
		if err != nil {
			return
		}
		for _, s := range p.signatures {
			_ = s.trustedBy(&database{}, &database{}, p.digest)
		}
	})
}

func FuzzDatabase(f *testing.F) {
	for _, file := range []string{"testdata/owner.der", "testdata/authority.der"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(list(kindX509, data), list(kindSHA256, make([]byte, 32))...))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = parseDatabase(data)
	})
}
