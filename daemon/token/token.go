// SPDX-License-Identifier: Apache-2.0

// Package token reads and writes the secrets machines join a cluster with, in
// K3s' formats: tokens, the server's token files, and the password file the
// supervisor checks requests against.
//
// It must not log or put into an error any part of a secret.
package token

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Users of tokens. Which of them a request names decides what it may do.
const (
	UserServer = "server"
	UserNode   = "node"
)

const (
	prefix     = "K10"
	hashLength = 2 * sha256.Size // hex
)

// bootstrapPattern is the form of kubeadm's bootstrap tokens: id "." secret.
var bootstrapPattern = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)

// Token is a parsed token. Three forms exist:
//
//	K10<sha256 of the CA bundle>::<user>:<password>   full; the hash may be empty
//	<password>                                        short: the CA isn't pinned
//	[K10<hash>::]<6 chars>.<16 chars>                 a bootstrap token
type Token struct {
	CAHash   string // 64 hex digits, or empty
	Username string // empty in a short and a bootstrap token
	Password string // empty in a bootstrap token
	// Bootstrap is the whole "id.secret" of a bootstrap token.
	Bootstrap string
}

// Parse reads any form of token. White space around it is ignored, since tokens
// come out of files.
func Parse(s string) (Token, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Token{}, ErrEmpty
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return Token{}, ErrCharacters
	}
	rest, full := strings.CutPrefix(s, prefix)
	if !full {
		if bootstrapPattern.MatchString(s) {
			return Token{Bootstrap: s}, nil
		}
		return Token{Password: s}, nil
	}
	var t Token
	if hash, credentials, ok := strings.Cut(rest, "::"); ok {
		if hash != "" && !isHash(hash) {
			return Token{}, ErrHash
		}
		t.CAHash, rest = hash, credentials
	}
	if bootstrapPattern.MatchString(rest) {
		t.Bootstrap = rest
		return t, nil
	}
	user, password, ok := strings.Cut(rest, ":")
	if !ok || password == "" {
		return Token{}, ErrFormat
	}
	t.Username, t.Password = user, password
	return t, nil
}

func isHash(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == sha256.Size && s == strings.ToLower(s)
}

// String returns the full form, or the short one where there is neither hash nor
// user. It holds the secret.
func (t Token) String() string {
	switch {
	case t.Bootstrap != "" && t.CAHash == "":
		return t.Bootstrap
	case t.Bootstrap != "":
		return prefix + t.CAHash + "::" + t.Bootstrap
	case t.CAHash == "" && t.Username == "" && !strings.HasPrefix(t.Password, prefix):
		return t.Password
	default:
		return prefix + t.CAHash + "::" + t.Username + ":" + t.Password
	}
}

// CAHash returns the hash by which a token pins the CA bundle of a server, the
// answer of /cacerts. With one certificate it is the hash of the PEM text as it
// is; with more it is the hash of the root alone, so that intermediates can be
// replaced without new tokens.
func CAHash(bundle []byte) (string, error) {
	certs, err := parseBundle(bundle)
	if err != nil {
		return "", fmt.Errorf("hash CA bundle: %w", err)
	}
	if len(certs) == 1 {
		return hexSum(bundle), nil
	}
	return hexSum(Root(certs).Raw), nil
}

// Pinned returns the certificate of a server's CA bundle that a token with this
// hash names, and the others. Only it vouches for a server: whoever answers can
// add what they like to a bundle.
//
// A token made when its CA was alone in the bundle names it by its PEM text. It
// still does when the authorities were replaced by some that it has signed.
func Pinned(bundle []byte, hash string) (pinned *x509.Certificate, others []*x509.Certificate, err error) {
	certs, err := parseBundle(bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("read CA bundle: %w", err)
	}
	for _, cert := range certs {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		switch {
		case pinned == nil && (hexSum(cert.Raw) == hash || hexSum(text) == hash || len(certs) == 1 && hexSum(bundle) == hash):
			pinned = cert
		default:
			others = append(others, cert)
		}
	}
	if pinned == nil {
		return nil, nil, ErrOtherCA
	}
	return pinned, others, nil
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// parseBundle returns the certificates of a CA bundle; there is at least one.
func parseBundle(bundle []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, ErrNoCertificate
	}
	return certs, nil
}

// Root returns the certificate at the end of the first one's chain.
func Root(certs []*x509.Certificate) *x509.Certificate {
	current := certs[0]
	for range certs {
		if string(current.RawIssuer) == string(current.RawSubject) {
			break
		}
		for _, candidate := range certs {
			if candidate != current && current.CheckSignatureFrom(candidate) == nil {
				current = candidate
				break
			}
		}
	}
	return current
}
