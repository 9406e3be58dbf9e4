// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net"
)

// The functions below grant certificate requests (DER) of nodes. Of a request
// only the public key is used: who the certificate is for is decided by the
// server, so a node can't ask for another's name. They return the certificate
// and its authority's chain as PEM; their errors wrap ErrBadCSR where the
// request is to blame.

// SignKubeletServing signs the certificate of nodeName's kubelet API.
func (b *Bundle) SignKubeletServing(csr []byte, nodeName string, ips []net.IP) ([]byte, error) {
	sans := append([]string{nodeName}, loopbackSANs...)
	for _, ip := range ips {
		sans = append(sans, ip.String())
	}
	s := subject{commonName: nodeName, usage: serverUsage}
	s.dnsNames, s.ips = splitSANs(sans)
	return b.sign(b.server, csr, s)
}

// SignKubeletClient signs the certificate nodeName is known to kube-apiserver by.
func (b *Bundle) SignKubeletClient(csr []byte, nodeName string) ([]byte, error) {
	return b.sign(b.client, csr, subject{
		commonName: "system:node:" + nodeName, organization: []string{"system:nodes"}, usage: clientUsage,
	})
}

// SignKubeProxy signs kube-proxy's client certificate.
func (b *Bundle) SignKubeProxy(csr []byte) ([]byte, error) {
	return b.sign(b.client, csr, subject{commonName: "system:kube-proxy", usage: clientUsage})
}

// SignController signs the client certificate of the node's own controllers:
// flannel and network policy.
func (b *Bundle) SignController(csr []byte) ([]byte, error) {
	return b.sign(b.client, csr, subject{commonName: "system:k3s-controller", usage: clientUsage})
}

func (b *Bundle) sign(a *authority, der []byte, s subject) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCSR, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCSR, err)
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return nil, fmt.Errorf("%w: an RSA key of %d bits is too short", ErrBadCSR, key.N.BitLen())
		}
	default:
		return nil, fmt.Errorf("%w: keys of type %T aren't signed", ErrBadCSR, key)
	}
	return a.issue(s, csr.PublicKey, b.now())
}
