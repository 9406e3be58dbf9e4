// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Certificate is one of this machine's certificate files. Its JSON form is the
// contract of `skerry certificate check -o json`.
type Certificate struct {
	File     string    `json:"file" yaml:"file"`
	Subject  string    `json:"subject" yaml:"subject"`
	CA       bool      `json:"ca" yaml:"ca"`
	NotAfter time.Time `json:"notAfter" yaml:"notAfter"`
	State    string    `json:"state" yaml:"state"` // one of the Certificate* below
	// Problem is why the file can't be read, where it is damaged.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

// The states of a certificate.
const (
	CertificateOK      = "ok"
	CertificateRenewal = "renewal is due" // by the process that holds it, if it runs
	CertificateEnding  = "ends within a year"
	CertificateExpired = "expired"
	CertificateDamaged = "damaged"
)

// caWarning is K3s': nobody renews an authority by itself.
const caWarning = 365 * 24 * time.Hour

// ReadCertificate returns the first certificate in file.
func ReadCertificate(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("read certificate from %s: %w", file, err)
	}
	return certs[0], nil
}

// Inspect describes the certificates below a data directory (K3s'
// /var/lib/rancher/k3s), those of the server and those of the agent, by file.
func Inspect(dataDir string, now time.Time) ([]Certificate, error) {
	all := []Certificate{}
	for _, pattern := range []string{"server/tls/*.crt", "server/tls/kube-*/*.crt", "server/tls/etcd/*.crt", "agent/*.crt"} {
		files, err := filepath.Glob(filepath.Join(dataDir, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if !strings.HasSuffix(file, ".nochain.crt") { // a copy
				all = append(all, inspect(file, now))
			}
		}
	}
	slices.SortFunc(all, func(x, y Certificate) int { return strings.Compare(x.File, y.File) })
	return all, nil
}

func inspect(file string, now time.Time) Certificate {
	cert, err := ReadCertificate(file)
	if err != nil {
		return Certificate{File: file, State: CertificateDamaged, Problem: err.Error()}
	}
	c := Certificate{File: file, Subject: cert.Subject.String(), CA: cert.IsCA, NotAfter: cert.NotAfter.UTC(), State: CertificateOK}
	switch left := cert.NotAfter.Sub(now); {
	case left <= 0:
		c.State = CertificateExpired
	case cert.IsCA && left < caWarning:
		c.State = CertificateEnding
	case !cert.IsCA && left < RenewBefore:
		c.State = CertificateRenewal
	}
	return c
}
