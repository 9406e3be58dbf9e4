// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"slices"
	"testing"
)

func TestSignCSR(t *testing.T) {
	b := ensure(t, t.TempDir(), testOptions())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The request asks for more than it may have.
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:admin", Organization: masters},
		DNSNames: []string{"evil.example.org"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	ip := net.ParseIP("192.0.2.20")
	for name, tc := range map[string]struct {
		sign  func() ([]byte, error)
		ca    *authority
		cn    string
		org   []string
		names []string
		usage x509.ExtKeyUsage
	}{
		"serving":    {func() ([]byte, error) { return b.SignKubeletServing(csr, "agent-1", []net.IP{ip}) }, b.server, "agent-1", nil, []string{"agent-1", "localhost"}, x509.ExtKeyUsageServerAuth},
		"client":     {func() ([]byte, error) { return b.SignKubeletClient(csr, "agent-1") }, b.client, "system:node:agent-1", []string{"system:nodes"}, nil, x509.ExtKeyUsageClientAuth},
		"kube-proxy": {func() ([]byte, error) { return b.SignKubeProxy(csr) }, b.client, "system:kube-proxy", nil, nil, x509.ExtKeyUsageClientAuth},
		"controller": {func() ([]byte, error) { return b.SignController(csr) }, b.client, "system:k3s-controller", nil, nil, x509.ExtKeyUsageClientAuth},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := tc.sign()
			if err != nil {
				t.Fatal(err)
			}
			certs, err := parseCertificates(data)
			if err != nil {
				t.Fatal(err)
			}
			cert := certs[0]
			if len(certs) != 2 || !tc.ca.issued(cert) || !certs[1].Equal(tc.ca.cert) {
				t.Error("answer isn't the certificate and its authority")
			}
			if cert.Subject.CommonName != tc.cn || !slices.Equal(cert.Subject.Organization, tc.org) || !slices.Equal(cert.DNSNames, tc.names) {
				t.Errorf("issued for %s, names %v", cert.Subject, cert.DNSNames)
			}
			if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{tc.usage}) {
				t.Errorf("usage %v", cert.ExtKeyUsage)
			}
			if name == "serving" {
				for _, host := range []string{"127.0.0.1", "::1", "192.0.2.20"} {
					if err := cert.VerifyHostname(host); err != nil {
						t.Error(err)
					}
				}
			}
			if got := b.VerifyClient(certs) == nil; got != (tc.usage == x509.ExtKeyUsageClientAuth) {
				t.Errorf("accepted as a client certificate: %v", got)
			}
		})
	}

	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // weak on purpose
	if err != nil {
		t.Fatal(err)
	}
	short, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak)
	if err != nil {
		t.Fatal(err)
	}
	tampered := slices.Clone(csr)
	tampered[len(tampered)-1] ^= 1
	for name, der := range map[string][]byte{"empty": nil, "garbage": []byte("hello"), "weak": short, "tampered": tampered} {
		if _, err := b.SignKubeProxy(der); !errors.Is(err, ErrBadCSR) {
			t.Errorf("%s request: %v, want ErrBadCSR", name, err)
		}
	}
}
