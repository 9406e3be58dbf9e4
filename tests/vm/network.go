// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/skerry-os/skerry/tests/vm/ethernet"
)

// Network is a network beside the lab's own: a switch, on which nobody serves DHCP.
type Network struct{ sw *ethernet.Switch }

// NewNetwork returns a network with nothing on it.
func NewNetwork() *Network { return &Network{sw: ethernet.NewSwitch()} }

// NIC is a network card of a machine.
type NIC struct {
	// Network is what the card is plugged into. Nil is the lab's own.
	Network *Network
	// Slot is where the card sits on the PCI root bus, 1 to 31, which is what Linux names it after: enp0s16 is in slot 16.
	// 0 takes the next free one.
	Slot int
	// Model is QEMU's name of the device. The default is virtio-net-pci.
	Model string
}

const defaultModel = "virtio-net-pci"

// AddHost plugs a host into a network, nil being the lab's own, that answers ping. Its frames have the tag of a VLAN,
// where that is not 0.
func (l *Lab) AddHost(n *Network, addr netip.Prefix, vlan uint16) error {
	sw := l.sw
	if n != nil {
		sw = n.sw
	}
	host, err := ethernet.NewHost(sw, ethernet.HostConfig{Address: addr, MAC: ethernet.HostMAC(addr.Addr()), VLAN: vlan})
	if err != nil {
		return fmt.Errorf("add host %s: %w", addr, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, host)
	return nil
}

// SetDHCP has the lab's DHCP server answer, as it does at first, or be silent.
func (l *Lab) SetDHCP(answers bool) { l.host.SetDHCP(answers) }

// MAC is the hardware address of a card, from 0. It stays the same wherever the card sits. DHCP answers that of the first
// card only.
func (m *Machine) MAC(card int) net.HardwareAddr { return ethernet.CardMAC(m.number, card) }

// SetSlot moves a card, from 0, to another slot. The machine must be off.
func (m *Machine) SetSlot(card, slot int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		return fmt.Errorf("move a card of %s: the machine is on", m.cfg.Name)
	}
	m.cfg.NICs[card].Slot = slot
	return nil
}

// SetCable pulls (false) or plugs in (true) the cable of the first card at its far end. The machine is not told.
func (m *Machine) SetCable(plugged bool) { m.ports[0].SetCable(plugged) }

// OnlyOutbound puts the machine's first card behind a firewall that lets through what the machine has begun, and the
// harness: what NAT at its end would come to for others.
func (m *Machine) OnlyOutbound() { m.ports[0].OnlyOutbound(ethernet.HostAddress()) }

// SetLink pulls (false) or plugs in (true) the cable of a card, from 0, at the machine's end: the card sees that its link
// is gone. It stays so over boots, and may be set before the first.
func (m *Machine) SetLink(ctx context.Context, card int, up bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unlinked[card] = !up
	if m.process == nil {
		return nil
	}
	q, ok := m.process.(*qemu)
	if !ok {
		return fmt.Errorf("pull a cable of %s: its cards have none at its end", m.cfg.Name)
	}
	return q.setLink(ctx, card, up)
}

func (q *qemu) setLink(ctx context.Context, card int, up bool) error {
	_, err := q.control.execute(ctx, "set_link", map[string]any{"name": netdev(card), "up": up})
	return err
}
