// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/x509"
	"net"
	"slices"
	"strings"
)

// A kubelet's certificate is of the authority that servers' are of. With one for a
// name or an address of this server, a node could pass for it to everybody who
// checks that: kubectl by a name in tls-san, pods by the address of the Service
// kubernetes. So no other node gets what this server's own certificate has.

// serving is this server's certificate.
func (s *Server) serving() (*x509.Certificate, error) {
	pair, err := s.config.Bundle.GetCertificate(nil)
	if err != nil {
		return nil, err
	}
	return pair.Leaf, nil
}

// notServers refuses a node with a name of this server's.
func (s *Server) notServers(node string) error {
	if s.isOwnNode(node) {
		return nil
	}
	cert, err := s.serving()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(cert.DNSNames, func(name string) bool { return strings.EqualFold(name, node) }) {
		return errReservedName
	}
	return nil
}

// ownIPs leaves out addresses that are this server's, or nobody's. They are no
// reason to refuse the node: behind one router, all nodes may have the external
// address of the server.
func (s *Server) ownIPs(node string, ips []net.IP) ([]net.IP, error) {
	if s.isOwnNode(node) {
		return ips, nil
	}
	cert, err := s.serving()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ips, func(ip net.IP) bool {
		return !ip.IsGlobalUnicast() || slices.ContainsFunc(cert.IPAddresses, ip.Equal)
	}), nil
}

func (s *Server) isOwnNode(node string) bool { return node == strings.ToLower(s.config.ownNode()) }
