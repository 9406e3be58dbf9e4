// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keyPair writes a key and its certificate to a folder, and returns the files.
func keyPair(t *testing.T, dir, name string, begins time.Time) (key, certificate string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: begins, NotAfter: begins.AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, dir, name+".key", "PRIVATE KEY", pkcs8), writePEM(t, dir, name+".crt", "CERTIFICATE", der)
}

func writePEM(t *testing.T, dir, name, kind string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNewSigner(t *testing.T) {
	dir := t.TempDir()
	begins := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	key, certificate := keyPair(t, dir, "owner", begins)
	other, otherCertificate := keyPair(t, dir, "other", begins)
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(elliptical)
	if err != nil {
		t.Fatal(err)
	}
	ecKey := writePEM(t, dir, "ec.key", "PRIVATE KEY", der)
	locked := writePEM(t, dir, "locked.key", "ENCRYPTED PRIVATE KEY", []byte("x"))
	// Microsoft's certificates come as DER.
	block, _ := pem.Decode(read(t, otherCertificate))
	bare := filepath.Join(dir, "other.der")
	if err := os.WriteFile(bare, block.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}

	if s, err := newSigner(options{}); s != nil || err != nil {
		t.Errorf("with nothing to sign: %v, %v", s, err)
	}
	s, err := newSigner(options{secureBootKey: key, secureBootCert: certificate, secureBootTrust: bare + " " + certificate})
	if err != nil || s.certificate.Subject.CommonName != "owner" || len(s.trusted) != 2 || s.trusted[0].Subject.CommonName != "other" {
		t.Fatalf("got %+v, %v", s, err)
	}
	for _, test := range []struct {
		key, certificate, trust, want string
	}{
		{key, "", "", "go together"},
		{"", certificate, "", "go together"},
		{"", "", certificate, "go together"},
		{key, key, "", "has no certificate, but a private key"},
		{certificate, certificate, "", "is no private key"},
		{other, certificate, "", "is not the key of the certificate of CN=owner"},
		{ecKey, certificate, "", "another kind than RSA"},
		{locked, certificate, "", "locked with a passphrase"},
		{key, filepath.Join(dir, "missing"), "", "no such file"},
		{key, certificate, key, "SECURE_BOOT_TRUST: "},
	} {
		_, err := newSigner(options{secureBootKey: test.key, secureBootCert: test.certificate, secureBootTrust: test.trust})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSigningKeys: who signs is a part of what a step is remembered by, and who doesn't sign has the keys of before.
func TestSigningKeys(t *testing.T) {
	dir := t.TempDir()
	begins := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	sums := map[string]string{}
	for _, name := range []string{"", "a", "b"} {
		b := &build{epoch: defaultEpoch, keys: map[string]string{"sign-tools": "t"}}
		if name != "" {
			key, certificate := keyPair(t, dir, name, begins)
			s, err := newSigner(options{secureBootKey: key, secureBootCert: certificate})
			if err != nil {
				t.Fatal(err)
			}
			b.signer = s
			// The time of a signature is one at which the certificate is valid.
			if at, err := b.signingTime(); err != nil || !at.Equal(begins) {
				t.Errorf("signed at %s, %v", at, err)
			}
		}
		d := newDigest("uki")
		b.signing(d)
		sum, err := d.sum()
		if err != nil {
			t.Fatal(err)
		}
		sums[sum] = name
	}
	unsigned, err := newDigest("uki").sum()
	if err != nil {
		t.Fatal(err)
	}
	if len(sums) != 3 || sums[unsigned] != "" {
		t.Errorf("the keys are %v, and %s without any", sums, unsigned)
	}
}

func TestSignSteps(t *testing.T) {
	var names []string
	for _, s := range (options{secureBootKey: "a", goarch: defaultArchitecture}).wanted() {
		names = append(names, s.name)
	}
	if got := strings.Join(names, " "); got != "tools base bios-tools bios root verity initrd sign-tools secure-boot uki disk" {
		t.Errorf("the steps are %s", got)
	}
}
