// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const nic tcpip.NICID = 1

const mtu = 1500 // bytes, without the Ethernet header

// HostConfig says what a host is.
type HostConfig struct {
	// Address is the host's, with the length of its network's prefix.
	Address netip.Prefix
	MAC     net.HardwareAddr
	// VLAN is the tag (IEEE 802.1Q, 1 to 4094) of the host's frames. 0 is none.
	VLAN uint16
}

// Host is a TCP/IP host on a switch, without any route off the segment.
type Host struct {
	stack   *stack.Stack
	mute    atomic.Bool          // see SetDHCP
	boot    atomic.Pointer[Boot] // see SetBoot
	moved   sync.Map             // of machine numbers to those whose address they have; see SetAddress
	closing context.Context      // ends when Close is called
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// NewHost plugs a host into a new port of the switch. It answers ARP and ping.
func NewHost(sw *Switch, cfg HostConfig) (*Host, error) {
	addr, subnet := cfg.Address.Addr(), cfg.Address.Masked()
	// The queue holds what the stack sends faster than the pump below takes it.
	link := channel.New(portQueue, mtu+header.EthernetMinimumSize, tcpip.LinkAddress(cfg.MAC))
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := s.CreateNIC(nic, ethernet.New(link)); err != nil {
		return nil, fmt.Errorf("create card of %s: %s", addr, err)
	}
	if err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: subnet.Bits()},
	}, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("set address %s: %s", addr, err)
	}
	local, err := tcpip.NewSubnet(tcpip.AddrFrom4(subnet.Addr().As4()), tcpip.MaskFromBytes(net.CIDRMask(subnet.Bits(), 32)))
	if err != nil {
		return nil, fmt.Errorf("subnet %s: %w", subnet, err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: local, NIC: nic}})

	ctx, cancel := context.WithCancel(context.Background())
	h := &Host{stack: s, closing: ctx, cancel: cancel}
	port := sw.AddPort(addr.String())
	h.wg.Add(2)
	go func() { // stack to switch
		defer h.wg.Done()
		for {
			pkt := link.ReadContext(ctx)
			if pkt == nil {
				return
			}
			frame := append([]byte(nil), pkt.ToView().AsSlice()...)
			pkt.DecRef()
			sw.forward(port, tag(frame, cfg.VLAN))
		}
	}()
	go func() { // switch to stack
		defer h.wg.Done()
		for {
			select {
			case frame := <-port.out:
				frame, ok := untag(frame, cfg.VLAN)
				if !ok {
					continue
				}
				pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
				link.InjectInbound(0, pkt) // the ethernet layer above reads the type from the frame
				pkt.DecRef()
			case <-ctx.Done():
				return
			}
		}
	}()
	return h, nil
}

// Close takes the host off the segment and ends its connections.
func (h *Host) Close() {
	h.cancel()
	h.wg.Wait()
	h.stack.Close()
}

// Dial connects to a TCP address on the segment. The address must be numeric.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" {
		return nil, net.UnknownNetworkError(network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	conn, err := gonet.DialContextTCP(ctx, h.stack, fullAddress(to), ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return conn, nil
}

// Listen accepts TCP connections on a port of the host, at any of its addresses.
func (h *Host) Listen(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(h.stack, tcpip.FullAddress{NIC: nic, Port: port}, ipv4.ProtocolNumber)
}

// AddAddress gives the host a further address, which need not be of the segment: machines reach it through the host, which
// is their router.
func (h *Host) AddAddress(addr netip.Addr) error {
	if terr := h.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(addr.As4()).WithPrefix(),
	}, stack.AddressProperties{}); terr != nil {
		return fmt.Errorf("add address %s: %s", addr, terr)
	}
	return nil
}

// Forward accepts connections on a loopback address of the machine the tests run on ("127.0.0.1:0" picks a port) and
// connects each to a guest's address, until ctx ends.
func (h *Host) Forward(ctx context.Context, log *slog.Logger, listen, guest string) (net.Addr, error) {
	at, err := netip.ParseAddrPort(listen)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("forward %s: must be a loopback address and port", listen)
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", listen, err)
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				log.Warn("forward: accept failed", "listen", listen, "err", err)
				return
			}
			go func() {
				defer conn.Close()
				to, err := h.Dial(ctx, "tcp", guest)
				if err != nil {
					log.Debug("forward: guest does not answer", "guest", guest, "err", err)
					return
				}
				defer to.Close()
				splice(conn, to)
			}()
		}
	}()
	return ln.Addr(), nil
}

func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// NewLabHost plugs in the one host every segment needs: it serves DHCP and DNS, and the harness dials through it.
func NewLabHost(sw *Switch, log *slog.Logger, lookup func(name string) (netip.Addr, bool)) (*Host, error) {
	h, err := NewHost(sw, HostConfig{Address: netip.PrefixFrom(hostAddress, subnet.Bits()), MAC: hostMAC})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(h.ServeDHCP(log), h.ServeDNS(log, lookup)); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}
