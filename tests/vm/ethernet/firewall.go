// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"encoding/binary"
	"net/netip"
)

// firewall is what stands before a machine that nobody can call: a stateful filter, or the NAT of a home or an office.
// What the machine has begun is answered; what others begin is dropped, without a word to them.
type firewall struct {
	// begun are conversations of the machine's, as its answers come in.
	begun map[conversation]bool
	// except may begin conversations all the same.
	except map[netip.Addr]bool
}

// conversation is a direction of what two programs say to each other.
type conversation struct {
	protocol uint8
	src, dst netip.AddrPort
}

// OnlyOutbound drops all that comes to the port and isn't an answer to what its machine has sent, but for what hosts
// with the addresses except send.
func (p *Port) OnlyOutbound(except ...netip.Addr) {
	f := &firewall{begun: map[conversation]bool{}, except: map[netip.Addr]bool{}}
	for _, addr := range except {
		f.except[addr] = true
	}
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.firewall = f
}

// sent remembers what a frame of the machine's begins.
func (f *firewall) sent(frame []byte) {
	if c, _, ok := conversationOf(frame); ok {
		f.begun[conversation{protocol: c.protocol, src: c.dst, dst: c.src}] = true
	}
}

// passes says whether a frame gets through to the machine. What isn't IPv4 does: without ARP there is no network.
func (f *firewall) passes(frame []byte) bool {
	flow, isIP := flowOf(frame)
	if !isIP || f.except[flow.Src] {
		return true
	}
	c, icmp, ok := conversationOf(frame)
	if !ok {
		const echoRequest = 8
		return flow.Protocol == protocolICMP && icmp != echoRequest
	}
	return f.begun[c]
}

const (
	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17
)

// conversationOf reads ports of a packet that has them, and the type of one of ICMP. Later fragments have neither.
func conversationOf(frame []byte) (c conversation, icmp uint8, ok bool) {
	flow, isIP := flowOf(frame)
	if !isIP {
		return conversation{}, 0, false
	}
	const fragmentOffset = 0x1fff
	ip := frame[frameMin:]
	header := int(ip[0]&0x0f) * 4
	if binary.BigEndian.Uint16(ip[6:8])&fragmentOffset != 0 || len(ip) < header+4 {
		return conversation{}, 0, false
	}
	if flow.Protocol != protocolTCP && flow.Protocol != protocolUDP {
		return conversation{}, ip[header], false
	}
	return conversation{
		protocol: flow.Protocol,
		src:      netip.AddrPortFrom(flow.Src, binary.BigEndian.Uint16(ip[header:header+2])),
		dst:      netip.AddrPortFrom(flow.Dst, flow.DstPort),
	}, 0, true
}
