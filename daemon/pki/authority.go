// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// authority is a certificate authority: its certificate, perhaps followed by
// the chain up to its root, and the key of the first.
//
// One that has replaced another has several certificates for its key, by the
// other and by itself.
type authority struct {
	cert *x509.Certificate // of those for its key, the one that lasts longest
	key  crypto.Signer
	pem  []byte // the whole chain
	pool *x509.CertPool
}

// ensureAuthority loads NAME-ca.crt and NAME-ca.key from dir, or creates them.
//
// The key is written first, so a power cut leaves a key alone at worst, and the
// certificate is made for it then. Every other incomplete state is damage.
func ensureAuthority(dir, name string, now time.Time) (*authority, error) {
	certFile := filepath.Join(dir, name+"-ca.crt")
	keyFile := filepath.Join(dir, name+"-ca.key")
	bundle, err := os.ReadFile(certFile)
	haveCert := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s authority: %w", name, err)
	}
	key, err := readKey(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && haveCert:
		return nil, &DamagedError{File: keyFile, Reason: "it is missing, but its certificate " + certFile + " is there"}
	case errors.Is(err, fs.ErrNotExist):
		if key, err = createKey(keyFile); err != nil {
			return nil, err
		}
	case errors.Is(err, errNoKey):
		return nil, &DamagedError{File: keyFile, Reason: "it holds no private key", Err: err}
	case err != nil:
		return nil, fmt.Errorf("read %s authority: %w", name, err)
	}
	if !haveCert {
		if bundle, err = selfSign(name, key, now); err != nil {
			return nil, err
		}
		if err := atomicfile.Write(certFile, bundle, certMode); err != nil {
			return nil, err
		}
	}
	a, err := newAuthority(bundle, key)
	if err != nil {
		return nil, &DamagedError{File: certFile, Reason: "it is no certificate authority for " + keyFile, Err: err}
	}
	if err := errors.Join(os.Chmod(keyFile, keyMode), os.Chmod(certFile, certMode)); err != nil {
		return nil, err
	}
	// kube-controller-manager signs with exactly one certificate and refuses a
	// file with more.
	first := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a, atomicfile.WriteIfChanged(filepath.Join(dir, name+"-ca.nochain.crt"), first, certMode)
}

func newAuthority(bundle []byte, key crypto.Signer) (*authority, error) {
	certs, err := parseCertificates(bundle)
	if err != nil {
		return nil, err
	}
	a := &authority{cert: certs[0], key: key, pem: bundle, pool: x509.NewCertPool()}
	for _, cert := range certs {
		a.pool.AddCert(cert)
	}
	if !a.cert.IsCA {
		return nil, errors.New("its first certificate may not sign others")
	}
	if !samePublicKey(a.cert.PublicKey, key.Public()) {
		return nil, errors.New("the key belongs to another certificate")
	}
	for _, cert := range certs {
		if samePublicKey(cert.PublicKey, key.Public()) && string(cert.RawSubject) == string(a.cert.RawSubject) && cert.NotAfter.After(a.cert.NotAfter) {
			a.cert = cert
		}
	}
	return a, nil
}

func selfSign(name string, key crypto.Signer, now time.Time) ([]byte, error) {
	template := authorityTemplate(name, now)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("create %s authority: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// authorityTemplate is what an authority of this name has in its certificate.
func authorityTemplate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("k3s-%s-ca@%d", strings.ReplaceAll(name, "/", "-"), now.Unix())},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

// subject is what a certificate says about its holder.
type subject struct {
	commonName   string
	organization []string
	dnsNames     []string
	ips          []string // textual, as they compare
	usage        []x509.ExtKeyUsage
}

// issue signs a certificate for public and returns it followed by the
// authority's chain, as PEM.
func (a *authority) issue(s subject, public crypto.PublicKey, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: s.commonName, Organization: s.organization},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(leafLifetime),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           s.usage,
		BasicConstraintsValid: true,
		DNSNames:              s.dnsNames,
		IPAddresses:           parseIPs(s.ips),
	}
	// A certificate that outlives its authority, or precedes it, is refused by
	// verifiers for reasons nobody would look for.
	if template.NotBefore.Before(a.cert.NotBefore) {
		template.NotBefore = a.cert.NotBefore
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %s: %w", s.commonName, err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.pem...), nil
}

// issued reports whether cert was signed by this authority, as it is now.
func (a *authority) issued(cert *x509.Certificate) bool {
	return string(cert.RawIssuer) == string(a.cert.RawSubject) && cert.CheckSignatureFrom(a.cert) == nil
}

// parseCertificates returns the certificates of a PEM file; there is at least
// one.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
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
		return nil, errors.New("no PEM certificate in it")
	}
	return certs, nil
}
