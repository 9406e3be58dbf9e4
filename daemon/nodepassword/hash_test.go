// SPDX-License-Identifier: Apache-2.0

package nodepassword

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// Hashes of "password", computed with openssl's scrypt (openssl kdf), so that
// the format isn't only tested against itself.
const (
	golden      = "$1:0011223344556677:15:8:1:NVH8pQpZi6mq8yjHV5VPLVGM4JSj/mPxuScaB9L60IwB+mnpmeR/ID41tfcwvyRulnWb1RPhzrBYCzHYBW930g"
	goldenOther = "$1:00112233445566778899:10:4:2:QP5PEvO8c3vD3micNmmXHtPWKWAxnARLHDVYRMTFgt3MuvRXH9aCaihFO5aQFVQNikNQh7xjoVboRa3nWLQzjA"
)

func TestVerifyGolden(t *testing.T) {
	for _, text := range []string{golden, goldenOther} {
		h, err := ParseHash(text)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := h.Verify("password"); !ok || err != nil {
			t.Errorf("%s: right password refused (%v)", text, err)
		}
		if ok, err := h.Verify("passwore"); ok || err != nil {
			t.Errorf("%s: wrong password accepted (%v)", text, err)
		}
		if h.String() != text {
			t.Errorf("%s is printed as %s", text, h)
		}
	}
}

func TestNewHash(t *testing.T) {
	a, err := NewHash("0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewHash("0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\$1:[0-9a-f]{16}:15:8:1:[A-Za-z0-9+/]{86}$`).MatchString(a.String()) {
		t.Errorf("hash %s isn't of K3s' form", a)
	}
	if a.String() == b.String() {
		t.Error("two hashes share a salt")
	}
	parsed, err := ParseHash(a.String())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := parsed.Verify("0123456789abcdef"); !ok || err != nil {
		t.Errorf("own hash refused (%v)", err)
	}
}

func TestParseHashRefuses(t *testing.T) {
	key := strings.Repeat("A", 86)
	for name, text := range map[string]string{
		"empty":             "",
		"another version":   "$2:0011223344556677:15:8:1:" + key,
		"field missing":     "$1:0011223344556677:15:8:" + key,
		"field too many":    "$1:0011223344556677:15:8:1:" + key + ":",
		"no salt":           "$1::15:8:1:" + key,
		"salt not hex":      "$1:zz:15:8:1:" + key,
		"N not a number":    "$1:00:x:8:1:" + key,
		"N negative":        "$1:00:-15:8:1:" + key,
		"N zero":            "$1:00:0:8:1:" + key,
		"1 GiB of memory":   "$1:00:20:8:1:" + key,
		"N overflows":       "$1:00:63:8:1:" + key,
		"r huge":            "$1:00:15:65535:1:" + key,
		"p huge":            "$1:00:15:8:9999:" + key,
		"padded key":        "$1:00:15:8:1:" + key + "==",
		"short key":         "$1:00:15:8:1:AAAA",
		"no key":            "$1:00:15:8:1:",
		"key not canonical": "$1:00:15:8:1:" + key[:85] + "B",
	} {
		if _, err := ParseHash(text); !errors.Is(err, ErrHash) {
			t.Errorf("%s: %v, want ErrHash", name, err)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(golden)
	f.Add(goldenOther)
	f.Add("$1::::::")
	f.Add("$1:00:15:8:1:AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHash(s)
		if err != nil {
			return
		}
		if 128*h.r<<h.logN > maxMemory {
			t.Errorf("%q takes more memory than it may", s)
		}
		again, err := ParseHash(h.String())
		if err != nil || again.String() != h.String() {
			t.Errorf("%q reads back as %v, %v", s, again, err)
		}
	})
}
