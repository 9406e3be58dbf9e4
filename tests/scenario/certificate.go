// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// newCertificate makes a certificate for a name, and an authority that has signed it, in PEM.
func newCertificate(name string) (certificate tls.Certificate, authority []byte, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	now := time.Now()
	issuer := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the lab"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	issuerDER, err := x509.CreateCertificate(rand.Reader, issuer, issuer, authorityKey.Public(), authorityKey)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: issuer.NotBefore, NotAfter: issuer.NotAfter,
	}, issuer, key.Public(), authorityKey)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make a certificate for %s: %w", name, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuerDER}), nil
}

// trust makes the daemon of a machine trust one authority, and no other. The lab can't have a certificate of an authority
// that the image trusts, and a cloud-config that names one comes too late for where it comes from. systemd takes a unit's
// drop-in from a credential (systemd-debug-generator(8)); everything else is as everywhere.
func trust(authority []byte) map[string][]byte {
	const name = "lab.authority"
	return map[string][]byte{
		name: authority,
		"systemd.unit-dropin.skerry.service": []byte("[Service]\nEnvironment=SSL_CERT_FILE=/run/credentials/@system/" + name +
			" SSL_CERT_DIR=/nonexistent\n"),
	}
}
