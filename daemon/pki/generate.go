// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// Successors makes new authorities and a new key for service accounts, to replace
// those of a with.
//
// Each is signed by itself and by its predecessor, and comes with that one's
// chain: whoever trusts either trusts what either has signed. With newRoot there
// is no predecessor: nobody trusts them yet, and they trust nothing of before. The
// old keys for service accounts stay behind the new one in any case; Kubernetes
// renews tokens within an hour, and would lock every pod out until then.
func (a Authorities) Successors(now time.Time, newRoot bool) (Authorities, error) {
	next := Authorities{}
	for _, name := range authorityNames {
		certFile, keyFile := name+"-ca.crt", name+"-ca.key"
		if len(a[certFile]) == 0 {
			continue
		}
		predecessor, err := a.authority(name)
		if err != nil {
			return nil, err
		}
		if newRoot {
			predecessor = nil
		}
		if next[certFile], next[keyFile], err = successor(name, predecessor, now); err != nil {
			return nil, fmt.Errorf("create %s authority: %w", name, err)
		}
	}
	key, err := newServiceKey()
	if err != nil {
		return nil, fmt.Errorf("create key for service accounts: %w", err)
	}
	next[serviceKeyFile] = append(key, a[serviceKeyFile]...)
	return next, nil
}

func (a Authorities) authority(name string) (*authority, error) {
	key, _, err := parseKey(a[name+"-ca.key"])
	if err != nil {
		return nil, fmt.Errorf("%s-ca.key: %w", name, err)
	}
	authority, err := newAuthority(a[name+"-ca.crt"], key)
	if err != nil {
		return nil, fmt.Errorf("%s-ca.crt: %w", name, err)
	}
	return authority, nil
}

// successor makes an authority of a name, signed by its predecessor, if there is
// one, and by itself. Certificates of the predecessor's chain that have expired
// are left out.
func successor(name string, predecessor *authority, now time.Time) (bundle, keyPEM []byte, err error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	template := authorityTemplate(name, now)
	self, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	chain := [][]byte{self}
	if predecessor != nil {
		// First, for what comes first says which root tokens name.
		cross, err := x509.CreateCertificate(rand.Reader, template, predecessor.cert, key.Public(), predecessor.key)
		if err != nil {
			return nil, nil, err
		}
		chain = [][]byte{cross, self}
		certs, err := parseCertificates(predecessor.pem)
		if err != nil {
			return nil, nil, err
		}
		for _, cert := range certs {
			if now.Before(cert.NotAfter) {
				chain = append(chain, cert.Raw)
			}
		}
	}
	for _, der := range chain {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return bundle, keyPEM, nil
}
