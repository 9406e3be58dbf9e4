// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"encoding/base64"
	"net"
	"net/netip"
	"strings"

	"gopkg.in/yaml.v3"
)

// Tunnel is an interface whose packets travel inside of others.
type Tunnel struct {
	Interface `yaml:",inline"`
	// Kind of the tunnel. This release has wireguard.
	Mode string `yaml:"mode" enum:"wireguard" required:"true"`
	// Private key of this machine, as `wg genkey` prints it.
	Key PrivateKey `yaml:"key" required:"true"`
	// UDP port to listen on. Without one the kernel chooses.
	Port *int `yaml:"port"`
	// Mark that the outer packets are given for the firewall.
	Mark *int `yaml:"mark"`
	// The other ends.
	Peers []Peer `yaml:"peers"`
}

// PrivateKey is a WireGuard private key: the key, or netplan's mapping with
// the one key private.
type PrivateKey struct {
	// The key, as `wg genkey` prints it.
	Private Secret `yaml:"private" required:"true"`
}

// Peer is another end of a WireGuard tunnel.
type Peer struct {
	// Keys of the peer.
	Keys PeerKeys `yaml:"keys" required:"true"`
	// Host and port of the peer, such as vpn.example.org:51820.
	Endpoint string `yaml:"endpoint"`
	// Networks that are behind the peer.
	AllowedIPs []string `yaml:"allowed-ips"`
	// Seconds between packets that keep firewalls on the way open.
	Keepalive *int `yaml:"keepalive"`
}

// PeerKeys are the keys of a WireGuard peer.
type PeerKeys struct {
	// Public key of the peer.
	Public string `yaml:"public" required:"true"`
	// Key that both ends share besides, as `wg genpsk` prints it.
	Shared Secret `yaml:"shared"`
}

func (k *PrivateKey) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode && lookUp(n, "file") == nil && lookUp(n, "credential") == nil {
		d.structure(n, path, k)
	} else {
		d.value(n, path, &k.Private)
	}
	if s := (scope{d, path}); s.sound("private") && !d.places[path].unsound {
		k.checkSecrets(s)
	}
}

func (k *PrivateKey) checkSecrets(s scope) {
	at := s.path
	if s.has("private") {
		at = s.at("private")
	}
	switch key := k.Private.Reveal(); {
	case key == "": // it is missing, or elsewhere
	case strings.HasPrefix(key, "/") && !isWireGuardKey(key):
		s.problem(at, "the path of a file is not a key", "skerry.network takes key: {file: /path}")
	default:
		s.wireGuardKey(at, key)
	}
}

// wireGuardKey checks a key's form without ever repeating it.
func (s scope) wireGuardKey(at, text string) {
	if !isWireGuardKey(text) {
		s.problem(at, "is not a WireGuard key", "44 characters, as `wg genkey` and `wg pubkey` print them")
	}
}

func isWireGuardKey(text string) bool {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && len(key) == 32 && len(text) == 44
}

func (t *Tunnel) check(s scope) {
	s.interfaceName(s.path, t.Name)
	t.Interface.check(s)
	if t.Port != nil {
		s.between("port", *t.Port, 1, 65535)
	}
	if t.Mark != nil {
		s.unsigned("mark", *t.Mark, 1)
	}
	for key, set := range map[string]bool{"dhcp4": t.DHCP4, "dhcp6": t.DHCP6} {
		if set {
			s.problem(s.at(key), "nobody answers DHCP in a WireGuard tunnel", "write addresses")
		}
	}
	seen := map[string]bool{}
	for i := range t.Peers {
		public := t.Peers[i].Keys.Public
		if public != "" && seen[public] {
			s.problem(s.at("peers", i, "keys", "public"), "is also the key of another peer", "merge the two")
		}
		seen[public] = true
	}
}

func (*Tunnel) unsupported(key string) (message, hint string) {
	switch key {
	case "keys":
		return "unknown key", "write key"
	case "local", "remote", "ttl", "id", "link", "mac-learning", "ageing", "limit":
		return "known netplan key, not supported by this release: is for tunnels of other kinds", "remove it"
	}
	return netplanUnsupported(key)
}

func (p *Peer) check(s scope) {
	if p.Endpoint != "" || s.has("endpoint") {
		host, port, err := net.SplitHostPort(p.Endpoint)
		if err != nil || host == "" || port == "" || !validPort(port) || !validEndpointHost(host) {
			s.problem(s.at("endpoint"), quote(p.Endpoint)+" is not host:port", "such as vpn.example.org:51820, or [2001:db8::1]:51820")
		}
	}
	for i, text := range p.AllowedIPs {
		net, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			s.problem(s.at("allowed-ips", i), quote(text)+" is not a network", "such as 192.0.2.0/24")
		case net != net.Masked():
			s.problem(s.at("allowed-ips", i), quote(text)+" is an address in a network", "write "+net.Masked().String())
		}
	}
	if p.Keepalive != nil {
		s.between("keepalive", *p.Keepalive, 0, 65535)
	}
}

func validEndpointHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	return validHostname(strings.ToLower(host), 253)
}

func (k *PeerKeys) check(s scope) {
	if k.Public != "" || s.has("public") {
		s.wireGuardKey(s.at("public"), k.Public)
	}
	k.checkSecrets(s)
}

func (k *PeerKeys) checkSecrets(s scope) {
	if key := k.Shared.Reveal(); key != "" {
		s.wireGuardKey(s.at("shared"), key)
	}
}
