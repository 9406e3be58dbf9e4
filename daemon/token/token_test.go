// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

const (
	hash      = "9b1d1dd7a1f9b2c1a1a3b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708"
	bootstrap = "abcdef.0123456789abcdef"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want Token
		err  error
	}{
		"full server":              {in: "K10" + hash + "::server:secret", want: Token{CAHash: hash, Username: "server", Password: "secret"}},
		"full node":                {in: "K10" + hash + "::node:secret", want: Token{CAHash: hash, Username: "node", Password: "secret"}},
		"from a file":              {in: "K10" + hash + "::node:secret\n", want: Token{CAHash: hash, Username: "node", Password: "secret"}},
		"empty hash":               {in: "K10::server:secret", want: Token{Username: "server", Password: "secret"}},
		"no hash":                  {in: "K10server:secret", want: Token{Username: "server", Password: "secret"}},
		"empty user":               {in: "K10" + hash + ":::secret", want: Token{CAHash: hash, Password: "secret"}},
		"colons in password":       {in: "K10" + hash + "::node:a:b::c", want: Token{CAHash: hash, Username: "node", Password: "a:b::c"}},
		"short":                    {in: "secret", want: Token{Password: "secret"}},
		"short with colons":        {in: "se::cr:et", want: Token{Password: "se::cr:et"}},
		"short with space":         {in: "correct horse", want: Token{Password: "correct horse"}},
		"bootstrap":                {in: bootstrap, want: Token{Bootstrap: bootstrap}},
		"full bootstrap":           {in: "K10" + hash + "::" + bootstrap, want: Token{CAHash: hash, Bootstrap: bootstrap}},
		"nearly bootstrap":         {in: "abcdef.0123456789abcdeF", want: Token{Password: "abcdef.0123456789abcdeF"}},
		"empty":                    {in: "", err: ErrEmpty},
		"blank":                    {in: " \n", err: ErrEmpty},
		"hash too short":           {in: "K10" + hash[1:] + "::server:secret", err: ErrHash},
		"hash not hex":             {in: "K10" + strings.Repeat("z", 64) + "::server:secret", err: ErrHash},
		"hash in upper case":       {in: "K10" + strings.ToUpper(hash) + "::server:secret", err: ErrHash},
		"no password":              {in: "K10" + hash + "::server:", err: ErrFormat},
		"no user":                  {in: "K10" + hash + "::secret", err: ErrFormat},
		"prefix alone":             {in: "K10", err: ErrFormat},
		"two lines":                {in: "secret\nsecret", err: ErrCharacters},
		"NUL":                      {in: "sec\x00ret", err: ErrCharacters},
		"not UTF-8":                {in: "sec\xffret", err: ErrCharacters},
		"full bootstrap, bad hash": {in: "K10abc::" + bootstrap, err: ErrHash},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tc.in)
			if !errors.Is(err, tc.err) || got != tc.want {
				t.Errorf("Parse(%q) = %+v, %v, want %+v, %v", tc.in, got, err, tc.want, tc.err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "secret", "K10", "K10::u:p", "K10" + hash + "::server:secret", bootstrap,
		"K10" + hash + "::" + bootstrap, "K10:::", "K10::::", "K10" + hash + "::::x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := Parse(s)
		if err != nil {
			if token != (Token{}) {
				t.Errorf("error with %+v", token)
			}
			return
		}
		if token.Password == "" && token.Bootstrap == "" {
			t.Errorf("Parse(%q) has no secret", s)
		}
		if token.CAHash != "" && len(token.CAHash) != hashLength {
			t.Errorf("Parse(%q) has hash %q", s, token.CAHash)
		}
		again, err := Parse(token.String())
		if err != nil || again != token {
			t.Errorf("Parse(%q) = %+v; as %q it is %+v, %v", s, token, token.String(), again, err)
		}
	})
}

func TestCAHash(t *testing.T) {
	rootCert, rootKey := certificate(t, "root", nil, nil)
	middle, middleKey := certificate(t, "middle", rootCert, rootKey)
	other, _ := certificate(t, "middle", rootCert, rootKey)
	leaf, _ := certificate(t, "leaf", middle, middleKey)

	one := encode(rootCert)
	sum := sha256.Sum256(one)
	if got := mustHash(t, one); got != hex.EncodeToString(sum[:]) {
		t.Errorf("one certificate: %s isn't the hash of its PEM", got)
	}
	if mustHash(t, append([]byte("# a comment\n"), one...)) == mustHash(t, one) {
		t.Error("one certificate: the text around it doesn't count")
	}
	sum = sha256.Sum256(rootCert.Raw)
	want := hex.EncodeToString(sum[:])
	for name, bundle := range map[string][]byte{
		"chain":                encode(middle, rootCert),
		"other intermediate":   encode(other, rootCert),
		"longer chain":         encode(leaf, middle, rootCert),
		"chain out of order":   encode(leaf, rootCert, middle),
		"root before the rest": encode(rootCert, middle),
	} {
		if got := mustHash(t, bundle); got != want {
			t.Errorf("%s: %s isn't the hash of the root", name, got)
		}
	}
	for name, bundle := range map[string]string{"empty": "", "text": "hello", "broken": "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"} {
		if _, err := CAHash([]byte(bundle)); err == nil {
			t.Errorf("%s bundle has a hash", name)
		}
	}
}

func TestPinned(t *testing.T) {
	root, rootKey := certificate(t, "root", nil, nil)
	middle, _ := certificate(t, "middle", root, rootKey)
	stranger, _ := certificate(t, "root", nil, nil)
	commented := append([]byte("# a comment\n"), encode(root)...)
	for name, tt := range map[string]struct {
		made, now []byte // bundle of the token, and of the server
		pinned    *x509.Certificate
	}{
		"alone":                                     {encode(root), encode(root), root},
		"alone, with a comment":                     {commented, commented, root},
		"alone, now with others it has signed":      {encode(root), encode(middle, root), root},
		"chain":                                     {encode(middle, root), encode(middle, root), root},
		"chain, now the root alone":                 {encode(middle, root), encode(root), root},
		"a stranger's is added":                     {encode(middle, root), encode(middle, root, stranger), root},
		"a stranger's comes first":                  {encode(root), encode(stranger, root), root},
		"a stranger's":                              {encode(root), encode(stranger), nil},
		"a stranger's, and one the root has signed": {encode(middle, root), encode(middle, stranger), nil},
	} {
		pinned, others, err := Pinned(tt.now, mustHash(t, tt.made))
		if tt.pinned == nil {
			if !errors.Is(err, ErrOtherCA) {
				t.Errorf("%s: %v, want ErrOtherCA", name, err)
			}
			continue
		}
		if err != nil || !pinned.Equal(tt.pinned) {
			t.Errorf("%s: pinned %v, %v", name, pinned, err)
			continue
		}
		all, err := parseBundle(tt.now)
		if err != nil || len(others) != len(all)-1 {
			t.Errorf("%s: %d others, want %d (%v)", name, len(others), len(all)-1, err)
		}
	}
	if _, _, err := Pinned(nil, mustHash(t, encode(root))); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("an empty bundle: %v", err)
	}
}

func mustHash(t *testing.T, bundle []byte) string {
	t.Helper()
	h, err := CAHash(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func encode(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

func certificate(t *testing.T, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
