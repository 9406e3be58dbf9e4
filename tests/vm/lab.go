// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/skerry-os/skerry/tests/cluster"
	"github.com/skerry-os/skerry/tests/vm/ethernet"
)

// LabConfig says what a lab is made of.
type LabConfig struct {
	// Dir is where the machines' disks and consoles go; it is made. A lab keeps nothing outside of it.
	Dir string
	// Image is the raw image that machines boot from. It is never written to.
	Image string
	// Native runs machines as processes of this machine, on its kernel (see package cluster): in seconds instead of
	// minutes, without all that concerns firmware, kernel, disks and clock.
	Native bool
	Log    *slog.Logger
	// Follow, if not nil, is called with each line of each machine's console.
	Follow func(m *Machine, l Line)
}

// Lab is a private network, or several, and the machines on them.
type Lab struct {
	cfg    LabConfig
	ctx    context.Context
	cancel context.CancelFunc
	sw     *ethernet.Switch
	host   *ethernet.Host
	hosts  []*ethernet.Host // beside host
	root   Partition        // of the image, where machines are native
	key    ssh.Signer

	mu       sync.Mutex
	machines []*Machine
	moves    int                   // how often a machine was given another address
	names    map[string]netip.Addr // what DNS answers
}

// NewLab makes a lab without machines. It ends with ctx, or when Close is called: no machine survives either.
func NewLab(ctx context.Context, cfg LabConfig) (*Lab, error) {
	var err error
	for _, path := range []*string{&cfg.Image, &cfg.Dir} {
		// Disks name their image by path, and QEMU looks for it from the disk's folder.
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	// A name of its own for the image: machines boot it again later, when a build may have put a new one in its place.
	own := filepath.Join(cfg.Dir, "image.raw")
	if err := os.Remove(own); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if os.Link(cfg.Image, own) == nil {
		cfg.Image = own
	} // else it is on another file system, and its owner had better leave it alone
	l := &Lab{cfg: cfg, sw: ethernet.NewSwitch(), names: map[string]netip.Addr{}}
	if err := l.findEngine(); err != nil {
		return nil, err
	}
	if l.key, err = loadOrCreateKey(l.KeyFile()); err != nil {
		return nil, err
	}
	if l.host, err = ethernet.NewLabHost(l.sw, cfg.Log, l.lookup); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l, nil
}

// findEngine finds out what machines are made of.
func (l *Lab) findEngine() (err error) {
	if l.cfg.Native {
		if err := cluster.CheckHost(); err != nil {
			return err
		}
		l.root, err = rootPartition(l.cfg.Image)
		return err
	}
	return CheckHost()
}

// Close switches all machines off, the hard way, and takes the network down. The files stay.
func (l *Lab) Close() {
	l.cancel()
	for _, m := range l.Machines() {
		m.PowerCut()
	}
	for _, h := range append([]*ethernet.Host{l.host}, l.hosts...) {
		h.Close()
	}
}

// KeyFile is the private ssh key that every machine of the lab lets in.
func (l *Lab) KeyFile() string { return filepath.Join(l.cfg.Dir, "id_ed25519") }

// AuthorizedKey is the public half of KeyFile, as in authorized_keys.
func (l *Lab) AuthorizedKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(l.key.PublicKey())))
}

// Machines returns the machines in the order they were added.
func (l *Lab) Machines() []*Machine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Machine(nil), l.machines...)
}

// Dial connects to a TCP address on the lab's network, such as "192.168.127.11:22".
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return l.host.Dial(ctx, network, address)
}

// Forward makes a guest's port reachable on a loopback address of this machine ("127.0.0.1:0" picks a port), as long as
// the lab lives.
func (l *Lab) Forward(listen, guest string) (net.Addr, error) {
	return l.host.Forward(l.ctx, l.cfg.Log, listen, guest)
}

// Sever stops everything between the first cards of two machines, both ways; others, and the harness, still reach both.
func (l *Lab) Sever(a, b *Machine) { l.sw.Sever(a.ports[0], b.ports[0]) }

// Mend undoes Sever.
func (l *Lab) Mend(a, b *Machine) { l.sw.Mend(a.ports[0], b.ports[0]) }

// Block drops the packets of one flow on the wire until Unblock.
func (l *Lab) Block(f ethernet.Flow) { l.sw.Block(f) }

// Unblock undoes Block.
func (l *Lab) Unblock(f ethernet.Flow) { l.sw.Unblock(f) }

// Flows counts the packets each conversation has had on the wire.
func (l *Lab) Flows() map[ethernet.Flow]int { return l.sw.Flows() }

// machineDomain is what machines' names end with, for those that ask DNS only for names with dots, as systemd-resolved.
const machineDomain = ".machine.lab.example"

// DNSName is the machine's name in DNS, which leads to its address also after Move.
func (m *Machine) DNSName() string { return strings.ToLower(m.cfg.Name) + machineDomain }

func (l *Lab) lookup(name string) (netip.Addr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addr, ok := l.names[strings.TrimSuffix(name, machineDomain)]
	if !ok {
		addr, ok = l.names[name]
	}
	return addr, ok
}

// add gives a machine its number and its port on the switch.
func (l *Lab) add(m *Machine) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range l.machines {
		if other.cfg.Name == m.cfg.Name {
			return fmt.Errorf("there is a machine %s already", m.cfg.Name)
		}
	}
	m.number = len(l.machines) + 1
	if m.number > ethernet.LastMachine-l.moves {
		return errors.New("the network is full")
	}
	m.at.Store(int64(m.number))
	for card, n := range m.cfg.NICs {
		sw := l.sw
		if n.Network != nil {
			sw = n.Network.sw
		}
		m.ports = append(m.ports, sw.AddPort(fmt.Sprintf("%s %s", m.cfg.Name, netdev(card))))
	}
	l.machines = append(l.machines, m)
	l.names[strings.ToLower(m.cfg.Name)] = m.Address()
	return nil
}

func loadOrCreateKey(path string) (ssh.Signer, error) {
	if old, err := os.ReadFile(path); err == nil {
		signer, err := ssh.ParsePrivateKey(old)
		if err != nil {
			return nil, fmt.Errorf("ssh key %s: %w", path, err)
		}
		return signer, nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "skerry lab")
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	return ssh.NewSignerFromKey(private)
}
