// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
)

const (
	frameMin = 14        // destination, source, type
	frameMax = 64 * 1024 // what a virtual card may send with segmentation offload
	// portQueue is how many frames wait for a port that does not read; further ones are dropped, as a real switch does.
	// A machine in its firmware reads nothing for many seconds and must not hold up the others.
	portQueue = 1024
)

// Flow is one direction of a conversation seen on the wire.
type Flow struct {
	Src, Dst netip.Addr
	Protocol uint8  // IP protocol number; 6 is TCP, 17 is UDP
	DstPort  uint16 // 0 where the protocol has none
}

// Switch is a learning Ethernet switch whose cables can be cut.
type Switch struct {
	mu    sync.Mutex // guards everything that follows
	ports map[*Port]bool
	// learned is the port behind which each hardware address was last seen.
	learned map[[6]byte]*Port
	// severed holds pairs of ports between which nothing passes, both ways round.
	severed map[[2]*Port]bool
	flows   map[Flow]int
	blocked map[Flow]bool
}

// NewSwitch returns a switch with no ports.
func NewSwitch() *Switch {
	return &Switch{
		ports:   map[*Port]bool{},
		learned: map[[6]byte]*Port{},
		severed: map[[2]*Port]bool{},
		flows:   map[Flow]int{},
		blocked: map[Flow]bool{},
	}
}

// Port is one socket of the switch.
type Port struct {
	sw   *Switch
	name string
	out  chan []byte
	// Guarded by sw.mu.
	down     bool
	firewall *firewall // nil where everything passes
}

// AddPort adds a port that nothing is plugged into yet. The name is for error messages.
func (s *Switch) AddPort(name string) *Port {
	p := &Port{sw: s, name: name, out: make(chan []byte, portQueue)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[p] = true
	return p
}

// SetCable pulls (false) or plugs in (true) the port's cable: no frame passes either way, and neither end is told.
func (p *Port) SetCable(plugged bool) {
	p.sw.mu.Lock()
	defer p.sw.mu.Unlock()
	p.down = !plugged
}

// Sever stops all frames between two ports, both ways, until Mend. Other ports still reach both.
func (s *Switch) Sever(a, b *Port) { s.setSevered(a, b, true) }

// Mend undoes Sever.
func (s *Switch) Mend(a, b *Port) { s.setSevered(a, b, false) }

func (s *Switch) setSevered(a, b *Port, severed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pair := range [][2]*Port{{a, b}, {b, a}} {
		if severed {
			s.severed[pair] = true
		} else {
			delete(s.severed, pair)
		}
	}
}

// Block drops all packets of a flow, as a firewall in the middle would, until Unblock.
func (s *Switch) Block(f Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked[f] = true
}

// Unblock undoes Block.
func (s *Switch) Unblock(f Flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blocked, f)
}

// Flows returns how many IPv4 packets each flow has had since the switch was made, those dropped included.
func (s *Switch) Flows() map[Flow]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := make(map[Flow]int, len(s.flows))
	for f, n := range s.flows {
		copied[f] = n
	}
	return copied
}

// Serve moves frames between the port and conn until conn fails or is closed. On conn each frame is preceded by its
// length as four bytes, big endian: the framing of QEMU's socket and stream network back ends. At most one conn may be
// served on a port at a time.
func (p *Port) Serve(conn io.ReadWriteCloser) error {
	// Frames that queued up while nothing was plugged in belong to a machine that was switched off.
	for len(p.out) > 0 {
		<-p.out
	}
	stop := make(chan struct{})
	writerDone := make(chan struct{})
	go func() {
		defer close(writerDone)
		for {
			select {
			case frame := <-p.out:
				if err := writeFrame(conn, frame); err != nil {
					conn.Close() // the reader below notices
					return
				}
			case <-stop:
				return
			}
		}
	}()
	err := p.readFrames(conn)
	close(stop)
	conn.Close()
	<-writerDone
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (p *Port) readFrames(conn io.Reader) error {
	for {
		frame, err := readFrame(conn)
		if err != nil {
			return fmt.Errorf("read frame from %s: %w", p.name, err)
		}
		p.sw.forward(p, frame)
	}
}

func readFrame(conn io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > frameMax {
		return nil, fmt.Errorf("frame of %d bytes is longer than %d", n, frameMax)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(conn, frame); err != nil {
		return nil, err
	}
	return frame, nil
}

func writeFrame(conn io.Writer, frame []byte) error {
	// One write a frame: were it two, a reader that goes away between them would see half a frame.
	buf := make([]byte, 4, 4+len(frame))
	binary.BigEndian.PutUint32(buf, uint32(len(frame)))
	_, err := conn.Write(append(buf, frame...))
	return err
}

// forward passes a frame that came in on port from to the port behind which its destination was last seen, or to all.
func (s *Switch) forward(from *Port, frame []byte) {
	if len(frame) < frameMin {
		return
	}
	dst, src := [6]byte(frame[0:6]), [6]byte(frame[6:12])
	s.mu.Lock()
	defer s.mu.Unlock()
	if from.down {
		return
	}
	s.learned[src] = from
	if from.firewall != nil {
		from.firewall.sent(frame)
	}
	if flow, ok := flowOf(frame); ok {
		s.flows[flow]++
		if s.blocked[flow] {
			return
		}
	}
	const groupBit = 1 // of the first byte: broadcast and multicast
	if to, known := s.learned[dst]; known && dst[0]&groupBit == 0 {
		s.deliverLocked(from, to, frame)
		return
	}
	for to := range s.ports {
		s.deliverLocked(from, to, frame)
	}
}

func (s *Switch) deliverLocked(from, to *Port, frame []byte) {
	if to == from || to.down || s.severed[[2]*Port{from, to}] {
		return
	}
	if to.firewall != nil && !to.firewall.passes(frame) {
		return
	}
	select {
	case to.out <- frame:
	default: // the port's queue is full
	}
}

// flowOf reads the addresses of an IPv4 packet.
func flowOf(frame []byte) (Flow, bool) {
	const etherTypeIPv4 = 0x0800
	if binary.BigEndian.Uint16(frame[12:14]) != etherTypeIPv4 {
		return Flow{}, false
	}
	ip := frame[frameMin:]
	if len(ip) < 20 {
		return Flow{}, false
	}
	f := Flow{
		Src:      netip.AddrFrom4([4]byte(ip[12:16])),
		Dst:      netip.AddrFrom4([4]byte(ip[16:20])),
		Protocol: ip[9],
	}
	header := int(ip[0]&0x0f) * 4
	if (f.Protocol == protocolTCP || f.Protocol == protocolUDP) && len(ip) >= header+4 {
		f.DstPort = binary.BigEndian.Uint16(ip[header+2 : header+4])
	}
	return f, true
}
