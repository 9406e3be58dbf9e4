// SPDX-License-Identifier: Apache-2.0

// Package pki keeps a server's certificate authorities, certificates, service
// account keys and kubeconfigs below its server directory, under K3s' names and
// modes, and signs what nodes ask for.
//
// Certificates may be thrown away and issued again at any time, so whatever is
// wrong with one is healed by issuing it anew. Authorities and the service
// account key may not: every node and every pod trusts them, so a damaged one is
// an error that names the file, never a reason to make another.
package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Lifetimes of K3s' node contract.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	// RenewBefore is how long before its expiry a certificate is issued anew:
	// long enough that a machine that is off for a season still has a good one.
	RenewBefore = 120 * 24 * time.Hour
	// skew dates certificates back for machines whose clock is slow.
	skew = time.Hour
)

// Modes of K3s' node contract.
const (
	dirMode  = 0o700
	certMode = 0o644
	keyMode  = 0o600
)

// firstSaneTime is K3s' limit: a clock before it was never set, and an authority
// dated by it would have expired once it is.
var firstSaneTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Options say for whom certificates are issued.
type Options struct {
	NodeName string
	// NodeIPs are all addresses other machines may reach this server by: its
	// internal, external and advertised ones.
	NodeIPs []net.IP
	// TLSSANs are further DNS names and addresses for the serving certificates.
	TLSSANs []string
	// ServiceIP is the cluster IP of the Service "kubernetes".
	ServiceIP     net.IP
	ClusterDomain string
	// Etcd is whether the server is a member of an embedded etcd.
	Etcd bool
	Now  func() time.Time // time.Now when nil
}

// Bundle is the server's certificates, complete and valid. Its methods may be
// called concurrently.
type Bundle struct {
	dir           string
	now           func() time.Time
	client        *authority
	server        *authority
	requestHeader *authority
	etcd, peer    *authority // of an embedded etcd, or nil
	serving       atomic.Pointer[tls.Certificate]
	replaced      bool

	issuing sync.Mutex // one at a time
	leaves  []leaf
	// renewAt is when the first certificate is to be issued anew.
	renewAt time.Time
}

// Ensure makes the server directory dir (K3s' /var/lib/rancher/k3s/server) hold
// everything the control plane needs, creating what is missing and issuing anew
// what is damaged, about to expire or no longer as opts say. It may be
// interrupted anywhere and called again.
func Ensure(dir string, opts Options) (*Bundle, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b := &Bundle{dir: dir, now: opts.Now}
	var err error
	if b.replaced, err = atomicfile.Commit(filepath.Join(dir, stagedFile)); err != nil {
		return nil, fmt.Errorf("replace authorities: %w", err)
	}
	if err := b.ensureAuthorities(opts.Etcd); err != nil {
		return nil, err
	}
	b.leaves = b.listLeaves(opts)
	_, err = b.issue()
	return b, err
}

// EnsureAuthorities is the part of Ensure that is the same on all servers of a cluster.
func EnsureAuthorities(dir string, etcd bool, now func() time.Time) error {
	return (&Bundle{dir: dir, now: now}).ensureAuthorities(etcd)
}

func (b *Bundle) ensureAuthorities(etcd bool) error {
	if now := b.now(); now.Before(firstSaneTime) {
		return fmt.Errorf("refusing to date certificates %s: the clock isn't set", now.Format(time.RFC3339))
	}
	dirs := []string{"", "cred", "etc", "tls", "tls/kube-controller-manager", "tls/kube-scheduler"}
	authorities := []namedAuthority{{"client", &b.client}, {"server", &b.server}, {"request-header", &b.requestHeader}}
	if etcd {
		dirs = append(dirs, "tls/etcd")
		authorities = append(authorities, namedAuthority{"etcd/server", &b.etcd}, namedAuthority{"etcd/peer", &b.peer})
	}
	for _, sub := range dirs {
		if err := os.MkdirAll(filepath.Join(b.dir, sub), dirMode); err != nil {
			return fmt.Errorf("create server directory: %w", err)
		}
	}
	for _, a := range authorities {
		authority, err := ensureAuthority(b.tlsPath(), a.name, b.now())
		if err != nil {
			return err
		}
		*a.to = authority
	}
	return ensureServiceKey(b.tlsPath())
}

// namedAuthority is where an authority of a name goes.
type namedAuthority struct {
	name string
	to   **authority
}

// Renew issues anew what is about to expire or was asked for by RequestRotation,
// as Ensure does, and returns which files it wrote. Whoever reads certificates
// from files has the new ones soon; GetCertificate has at once. It costs next to
// nothing while nothing is due, so that it may be called often: a machine may
// sleep past an expiry.
func (b *Bundle) Renew() ([]string, error) {
	requested, err := RequestedRotation(b.tlsPath())
	if err != nil {
		return nil, err
	}
	b.issuing.Lock()
	due := !b.now().Before(b.renewAt)
	b.issuing.Unlock()
	if !due && len(requested) == 0 {
		return nil, nil
	}
	return b.issue()
}

func (b *Bundle) issue() (renewed []string, err error) {
	b.issuing.Lock()
	defer b.issuing.Unlock()
	now := b.now()
	renewAt := now.Add(leafLifetime)
	requested, err := RequestedRotation(b.tlsPath())
	if err != nil {
		return nil, err
	}
	for _, l := range b.leaves {
		cert, isNew, err := l.ensure(b.tlsPath(), now, slices.Contains(requested, l.file))
		if err != nil {
			return renewed, err
		}
		if isNew {
			renewed = append(renewed, filepath.Join(b.tlsPath(), l.file+".crt"))
		}
		if at := l.renewal(cert.Leaf); at.Before(renewAt) {
			renewAt = at
		}
		if l.file == supervisorLeaf {
			b.serving.Store(cert)
		}
	}
	b.renewAt = renewAt
	return renewed, EndRotation(b.tlsPath(), requested)
}

// Replaced reports whether Ensure has put other authorities in the place of those
// that there were.
func (b *Bundle) Replaced() bool { return b.replaced }

// TLSFile returns the path of a file below the server's tls directory.
func (b *Bundle) TLSFile(name string) string { return filepath.Join(b.tlsPath(), name) }

func (b *Bundle) tlsPath() string { return filepath.Join(b.dir, "tls") }

// GetCertificate serves the supervisor's certificate, for tls.Config.
func (b *Bundle) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return b.serving.Load(), nil
}

// ClientCAPEM returns the bundle that client certificates are verified with.
func (b *Bundle) ClientCAPEM() []byte { return b.client.pem }

// ServerCAPEM returns the bundle that serving certificates are verified with:
// what /cacerts answers and what tokens carry the hash of.
func (b *Bundle) ServerCAPEM() []byte { return b.server.pem }

// VerifyClient checks a client certificate, the first of chain, that a peer
// presented. The rest of chain may lead to the client authority.
func (b *Bundle) VerifyClient(chain []*x509.Certificate) error {
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         b.client.pool,
		Intermediates: intermediates,
		CurrentTime:   b.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}
