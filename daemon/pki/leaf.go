// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// ServerName is what certificates of servers are checked for, whatever address
// leads to them. It is one of the names of every server, K3s' included, and no
// node may have it: nodes hold certificates of the same authority, for their own
// name, localhost and the loopback addresses.
const ServerName = "kubernetes"

// supervisorLeaf is the certificate of the listener on port 6443.
const supervisorLeaf = "serving-supervisor"

var (
	clientUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	serverUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	memberUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
)

// masters is the group Kubernetes grants everything to.
var masters = []string{"system:masters"}

// leaf is a certificate this server holds: FILE.crt and FILE.key.
type leaf struct {
	file    string // below the tls directory, without extension
	ca      *authority
	subject subject
}

// listLeaves lists the server's certificates, K3s' contract.
func (b *Bundle) listLeaves(opts Options) []leaf {
	client := func(file, cn string, org ...string) leaf {
		return leaf{file, b.client, subject{commonName: cn, organization: org, usage: clientUsage}}
	}
	serving := func(file, cn string, org, sans []string) leaf {
		s := subject{commonName: cn, organization: org, usage: serverUsage}
		s.dnsNames, s.ips = splitSANs(sans)
		return leaf{file, b.server, s}
	}
	server := serverSANs(opts)
	leaves := []leaf{
		client("client-admin", "system:admin", masters...),
		client("client-supervisor", "system:k3s-supervisor", masters...),
		client("client-controller", "system:kube-controller-manager"),
		client("client-scheduler", "system:kube-scheduler"),
		client("client-kube-apiserver", "system:apiserver", masters...),
		client("client-k3s-cloud-controller", "k3s-cloud-controller-manager"),
		{"client-auth-proxy", b.requestHeader, subject{commonName: "system:auth-proxy", usage: clientUsage}},
		serving("serving-kube-apiserver", "kube-apiserver", nil, server),
		serving(supervisorLeaf, "k3s", []string{"k3s"}, server),
		serving("kube-scheduler/kube-scheduler", "kube-scheduler", nil, loopbackSANs),
		serving("kube-controller-manager/kube-controller-manager", "kube-controller-manager", nil, loopbackSANs),
	}
	if opts.Etcd {
		// Members look for the address that another calls from in its certificate.
		member := func(file, cn string, ca *authority) leaf {
			s := subject{commonName: cn, usage: memberUsage}
			s.dnsNames, s.ips = splitSANs(server)
			return leaf{file, ca, s}
		}
		leaves = append(leaves,
			member("etcd/server-client", "etcd-server", b.etcd),
			member("etcd/peer-server-client", "etcd-peer", b.peer),
			leaf{"etcd/client", b.etcd, subject{commonName: "etcd-client", usage: clientUsage}},
		)
	}
	return leaves
}

var loopbackSANs = []string{"localhost", "127.0.0.1", "::1"}

// serverSANs lists every name and address a server may be called by.
func serverSANs(opts Options) []string {
	sans := append(slices.Clone(loopbackSANs), opts.NodeName,
		ServerName, ServerName+".default", ServerName+".default.svc")
	if short, _, ok := strings.Cut(opts.NodeName, "."); ok {
		sans = append(sans, short)
	}
	if opts.ClusterDomain != "" {
		sans = append(sans, ServerName+".default.svc."+opts.ClusterDomain)
	}
	for _, ip := range append(slices.Clone(opts.NodeIPs), opts.ServiceIP) {
		if ip != nil {
			sans = append(sans, ip.String())
		}
	}
	return append(sans, opts.TLSSANs...)
}

// splitSANs tells names from addresses. Both come out sorted and without
// doubles, so that they compare with a certificate's.
func splitSANs(sans []string) (names, ips []string) {
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			ips = append(ips, ip.String())
		} else if san != "" {
			names = append(names, san)
		}
	}
	slices.Sort(names)
	slices.Sort(ips)
	return slices.Compact(names), slices.Compact(ips)
}

func parseIPs(texts []string) []net.IP {
	ips := make([]net.IP, 0, len(texts))
	for _, text := range texts {
		ips = append(ips, net.ParseIP(text))
	}
	return ips
}

// ensure loads the certificate, issuing it anew where it must be. The key is
// kept when it can be: then the certificate is the only file that changes, and
// no power cut can leave a pair that does not match for good. With fresh, key and
// certificate are new in any case.
func (l leaf) ensure(dir string, now time.Time, fresh bool) (cert *tls.Certificate, isNew bool, err error) {
	certFile, keyFile := filepath.Join(dir, l.file+".crt"), filepath.Join(dir, l.file+".key")
	if fresh {
		if err := l.replace(certFile, keyFile, now); err != nil {
			return nil, false, err
		}
		isNew = true
	}
	key, err := EnsureKey(keyFile)
	if err != nil {
		return nil, false, err
	}
	data, err := os.ReadFile(certFile)
	if err != nil || !l.good(data, key.Public(), now) {
		// Whatever is wrong with the old file, a new one is the remedy; if the
		// disk is to blame, the write says so.
		if data, err = l.ca.issue(l.subject, key.Public(), now); err != nil {
			return nil, false, err
		}
		isNew = true
	}
	if err := atomicfile.WriteIfChanged(certFile, data, certMode); err != nil {
		return nil, false, err
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	return &pair, isNew, err
}

// replace writes a new key and a certificate for it. Who reads one file just
// before and the other just after has a pair that doesn't match, and reads again.
func (l leaf) replace(certFile, keyFile string, now time.Time) error {
	key, keyPEM, err := NewKey()
	if err != nil {
		return err
	}
	cert, err := l.ca.issue(l.subject, key.Public(), now)
	if err != nil {
		return err
	}
	return atomicfile.Replace(
		atomicfile.File{Path: keyFile, Data: keyPEM, Mode: keyMode},
		atomicfile.File{Path: certFile, Data: cert, Mode: certMode},
	)
}

// renewal is when cert is to be issued anew.
func (l leaf) renewal(cert *x509.Certificate) time.Time {
	// Near the end of the authority's life no longer certificate can be had.
	if cert.NotAfter.Equal(l.ca.cert.NotAfter) {
		return cert.NotAfter
	}
	return cert.NotAfter.Add(-RenewBefore)
}

// good reports whether the certificate file data is still what it should be.
func (l leaf) good(data []byte, public crypto.PublicKey, now time.Time) bool {
	certs, err := parseCertificates(data)
	if err != nil {
		return false
	}
	cert := certs[0]
	names := slices.Sorted(slices.Values(cert.DNSNames))
	var ips []string
	for _, ip := range cert.IPAddresses {
		ips = append(ips, ip.String())
	}
	slices.Sort(ips)
	// Who trusts an authority that has signed this one needs the chain between.
	return bytes.HasSuffix(data, l.ca.pem) &&
		now.Before(l.renewal(cert)) &&
		cert.Subject.CommonName == l.subject.commonName &&
		slices.Equal(cert.Subject.Organization, l.subject.organization) &&
		slices.Equal(cert.ExtKeyUsage, l.subject.usage) &&
		slices.Equal(names, l.subject.dnsNames) &&
		slices.Equal(ips, l.subject.ips) &&
		samePublicKey(cert.PublicKey, public) &&
		l.ca.issued(cert)
}
