// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
)

// CACerts are the certificate authorities that the machine's programs trust:
// containerd for registries, and the daemon for what it fetches.
type CACerts struct {
	// Certificates in PEM to trust beside those of the image. An item may hold
	// several.
	Trusted []Certificate `yaml:"trusted"`
	// Whether the image's own are not trusted any more. The default is false.
	RemoveDefaults bool `yaml:"remove_defaults"`
}

// CACertsDashed is CACerts under cloud-init's older names.
type CACertsDashed struct {
	// Certificates in PEM to trust beside those of the image. An item may hold
	// several.
	Trusted []Certificate `yaml:"trusted"`
	// Whether the image's own are not trusted any more. The default is false.
	RemoveDefaults bool `yaml:"remove-defaults"`
}

// TrustedCerts returns what the file says under either name.
func (c *Config) TrustedCerts() CACerts {
	if c.CACerts == nil && c.CACertsDashed != nil {
		return CACerts(*c.CACertsDashed)
	}
	if c.CACerts != nil {
		return *c.CACerts
	}
	return CACerts{}
}

func (v *CACerts) check(s scope) {
	if v.RemoveDefaults && len(v.Trusted) == 0 {
		s.problem(s.at("remove_defaults"), "nothing would be trusted any more: no registry could be reached", "add trusted:")
	}
}

func (v *CACertsDashed) check(s scope) {
	if v.RemoveDefaults && len(v.Trusted) == 0 {
		s.problem(s.at("remove-defaults"), "nothing would be trusted any more: no registry could be reached", "add trusted:")
	}
}

// Certificate is one or more certificates in PEM.
type Certificate string

func (c *Certificate) check(s scope) {
	rest := []byte(*c)
	count := 0
	for {
		var block *pem.Block
		before := rest
		block, rest = pem.Decode(rest)
		if block == nil {
			if bytes.Contains(before, []byte("-----BEGIN")) {
				s.problem(s.path, "holds a damaged PEM block", "paste the whole of it, from -----BEGIN to -----END")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			s.problem(s.path, "holds a "+clip(block.Type), "only certificates belong here")
			return
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			s.problem(s.path, "holds a damaged certificate", "paste the whole of it, from -----BEGIN to -----END")
			return
		}
		count++
	}
	if count == 0 {
		s.problem(s.path, "is not a certificate in PEM", "it begins with -----BEGIN CERTIFICATE-----")
	}
}

// PEM returns the certificates alone, without the text people leave around
// them.
func (c Certificate) PEM() []byte {
	var out bytes.Buffer
	for block, rest := pem.Decode([]byte(c)); block != nil; block, rest = pem.Decode(rest) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	}
	return out.Bytes()
}

func (c *Config) checkCACerts(s scope) {
	if c.CACerts != nil && c.CACertsDashed != nil {
		s.problem(s.at("ca-certs"), "ca_certs and ca-certs are both given", "merge them into ca_certs")
	}
}
