// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/skerry-os/skerry/daemon/token"
)

// ErrNothingNew is returned for authorities that are those there are.
var ErrNothingNew = errors.New("these are the authorities that the cluster has; there is nothing to replace")

// UnrelatedError reports authorities that work, but that those who trust the
// present ones have no reason to trust.
type UnrelatedError struct{ Problems []error }

func (e *UnrelatedError) Error() string {
	return fmt.Sprintf("%v; to replace them all the same, force it, and give agents new tokens", errors.Join(e.Problems...))
}

// Replace returns a with the files of next in place of its own, all checked: each
// authority must have its key, be valid at now and come with its chain up to a
// root.
//
// With an UnrelatedError the result is as usable: a root of a must be in each
// chain, so that what was signed before and after is trusted by who trusts
// either, and the key that signs the tokens of service accounts in a must be in
// next, so that they stay valid.
func (a Authorities) Replace(next Authorities, now time.Time) (Authorities, error) {
	all := maps.Clone(a)
	maps.Copy(all, next)
	if maps.EqualFunc(a, all, bytes.Equal) {
		return nil, ErrNothingNew
	}
	var broken, unrelated []error
	for _, name := range authorityNames {
		if file := name + "-ca.crt"; len(all[file]) > 0 || len(all[name+"-ca.key"]) > 0 {
			certs, err := usable(all[file], all[name+"-ca.key"], now)
			if err != nil {
				broken = append(broken, fmt.Errorf("%s: %w", file, err))
			} else if err := related(a[file], certs, now); err != nil {
				unrelated = append(unrelated, fmt.Errorf("%s: %w", file, err))
			}
		}
	}
	if err := keepsKey(a[serviceKeyFile], all[serviceKeyFile]); errors.Is(err, errKeyGone) {
		unrelated = append(unrelated, fmt.Errorf("%s: %w", serviceKeyFile, err))
	} else if err != nil {
		broken = append(broken, fmt.Errorf("%s: %w", serviceKeyFile, err))
	}
	if len(broken) > 0 {
		return nil, errors.Join(broken...)
	}
	if len(unrelated) > 0 {
		return all, &UnrelatedError{unrelated}
	}
	return all, nil
}

// usable returns the certificates of an authority that can be used.
func usable(bundle, keyPEM []byte, now time.Time) ([]*x509.Certificate, error) {
	key, _, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("the key that goes with it: %w", err)
	}
	a, err := newAuthority(bundle, key)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(bundle)
	if err != nil {
		return nil, err
	}
	first := certs[0]
	switch {
	case first.KeyUsage != 0 && first.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, errors.New("its key usage is not to sign certificates")
	case now.Before(a.cert.NotBefore):
		return nil, fmt.Errorf("it is valid from %s on only", a.cert.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(a.cert.NotAfter):
		return nil, fmt.Errorf("it expired on %s", a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if root := token.Root(certs); !bytes.Equal(root.RawIssuer, root.RawSubject) || !leadsTo(certs, root, now) {
		return nil, errors.New("its chain doesn't end in a root that is valid: append the certificates of those who signed it, up to the root")
	}
	return certs, nil
}

// related checks that a chain contains and leads to the root of the present one.
func related(present []byte, next []*x509.Certificate, now time.Time) error {
	if len(present) == 0 {
		return nil // nobody trusts it yet
	}
	certs, err := parseCertificates(present)
	if err != nil {
		return fmt.Errorf("the present one: %w", err)
	}
	root := token.Root(certs)
	if !slices.ContainsFunc(next, root.Equal) || !leadsTo(next, root, now) {
		return fmt.Errorf("it was not signed by %s, the root there is, or its chain doesn't contain that", root.Subject)
	}
	return nil
}

// leadsTo reports whether the authority of a chain, by any certificate for its
// key, was signed by root.
func leadsTo(chain []*x509.Certificate, root *x509.Certificate, now time.Time) bool {
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, cert := range chain {
		others.AddCert(cert)
	}
	return slices.ContainsFunc(chain, func(cert *x509.Certificate) bool {
		if !samePublicKey(cert.PublicKey, chain[0].PublicKey) || !bytes.Equal(cert.RawSubject, chain[0].RawSubject) {
			return false
		}
		_, err := cert.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: others, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		return err == nil
	})
}

var errKeyGone = errors.New("the key that signs the tokens of service accounts now isn't in it, so that all of them would be refused: append it")

// keepsKey checks that next has the first key of present.
func keepsKey(present, next []byte) error {
	after, err := parseKeys(next)
	if err != nil {
		return err
	}
	if len(present) == 0 {
		return nil
	}
	signing, _, err := parseKey(present)
	if err != nil {
		return fmt.Errorf("the present one: %w", err)
	}
	if !slices.ContainsFunc(after, func(key crypto.Signer) bool { return samePublicKey(key.Public(), signing.Public()) }) {
		return errKeyGone
	}
	return nil
}
