// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Files below /run/skerry.
const (
	// ScriptFile is what the kernel was last told. It is there as long as there is
	// a table.
	ScriptFile = "/run/skerry/firewall.nft"
	// PeersFile is what the node process knows of the cluster, for the next time
	// the table is made anew.
	PeersFile = "/run/skerry/firewall-peers.json"
	// lockFile is held by who reads or writes the two and tells the kernel.
	lockFile = "/run/skerry/firewall.lock"
)

// Peers are who is let in because of the cluster.
type Peers struct {
	// Nodes are the addresses of the cluster's nodes, Pods the networks of their
	// pods.
	Nodes []netip.Addr   `json:"nodes"`
	Pods  []netip.Prefix `json:"pods"`
}

// Sort puts the peers in order, each once, so that equal ones compare equal.
func (p *Peers) Sort() {
	slices.SortFunc(p.Nodes, netip.Addr.Compare)
	p.Nodes = slices.Compact(p.Nodes)
	slices.SortFunc(p.Pods, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	p.Pods = slices.Compact(p.Pods)
}

// Equal says whether two sorted sets of peers are the same.
func (p Peers) Equal(other Peers) bool {
	return slices.Equal(p.Nodes, other.Nodes) && slices.Equal(p.Pods, other.Pods)
}

// peerSet is one set of the table.
type peerSet struct{ name, definition, elements string }

func (p Peers) all() []peerSet {
	var list []peerSet
	for _, family := range []struct {
		suffix, kind string
		ipv6         bool
	}{{"", "ipv4_addr", false}, {"6", "ipv6_addr", true}} {
		nodes := slices.DeleteFunc(slices.Clone(p.Nodes), func(a netip.Addr) bool { return a.Is6() != family.ipv6 })
		pods := slices.DeleteFunc(slices.Clone(p.Pods), func(n netip.Prefix) bool { return n.Addr().Is6() != family.ipv6 })
		list = append(list,
			peerSet{"nodes" + family.suffix, "type " + family.kind, join(nodes)},
			peerSet{"pods" + family.suffix, "type " + family.kind + "; flags interval; auto-merge", join(pods)})
	}
	return list
}

// sets define the sets of a new table.
func (p Peers) sets() string {
	var b strings.Builder
	for _, s := range p.all() {
		fmt.Fprintf(&b, "\tset %s {\n\t\t%s\n", s.name, s.definition)
		if s.elements != "" {
			fmt.Fprintf(&b, "\t\telements = { %s }\n", s.elements)
		}
		b.WriteString("\t}\n")
	}
	return b.String()
}

// update replaces what is in the sets of the table that is there.
func (p Peers) update() []byte {
	var b strings.Builder
	for _, s := range p.all() {
		fmt.Fprintf(&b, "flush set inet skerry %s\n", s.name)
		if s.elements != "" {
			fmt.Fprintf(&b, "add element inet skerry %s { %s }\n", s.name, s.elements)
		}
	}
	return []byte(b.String())
}

// ReadPeers returns what the node process has last written, nothing where it
// hasn't yet. Root is "/", except in tests.
func ReadPeers(root string) (Peers, error) {
	var p Peers
	data, err := os.ReadFile(filepath.Join(root, PeersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return Peers{}, fmt.Errorf("read %s: %w", PeersFile, err)
	}
	return p, nil
}

// SetPeers remembers the peers, and lets them in if there is a firewall.
func SetPeers(ctx context.Context, root string, load Loader, p Peers) error {
	return Locked(root, func() error {
		data, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(root, PeersFile), data, 0o600); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(root, ScriptFile)); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		return load(ctx, p.update())
	})
}

// Locked runs do while neither the daemon nor the node process changes the
// table: each would go by what the other is about to replace.
func Locked(root string, do func() error) error {
	path := filepath.Join(root, lockFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // and the lock is gone
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return do()
}
