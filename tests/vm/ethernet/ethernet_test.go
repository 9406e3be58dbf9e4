// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newHost plugs a host in and takes it out when the test ends. port is the port of the switch it got.
func newHost(t *testing.T, sw *Switch, addr netip.Addr, mac net.HardwareAddr) (h *Host, port *Port) {
	t.Helper()
	before := map[*Port]bool{}
	for p := range sw.ports {
		before[p] = true
	}
	h, err := NewHost(sw, HostConfig{Address: netip.PrefixFrom(addr, subnet.Bits()), MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	for p := range sw.ports {
		if !before[p] {
			port = p
		}
	}
	return h, port
}

func echo(t *testing.T, h *Host, port uint16) {
	t.Helper()
	ln, err := h.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
}

func dial(t *testing.T, from *Host, address string, within time.Duration) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return from.Dial(ctx, "tcp", address)
}

func TestTwoHostsTalk(t *testing.T) {
	sw := NewSwitch()
	a, _ := newHost(t, sw, Address(1), MAC(1))
	b, _ := newHost(t, sw, Address(2), MAC(2))
	echo(t, b, 7)

	conn, err := dial(t, a, "192.168.127.12:7", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Larger than any window or queue on the way: a lost frame must be sent again, not lose the transfer.
	sent := bytes.Repeat([]byte("all the way round "), 200_000)
	go func() {
		conn.Write(sent)
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("echo returned %d bytes that differ from the %d sent", len(got), len(sent))
	}
	flow := Flow{Src: Address(1), Dst: Address(2), Protocol: 6, DstPort: 7}
	if sw.Flows()[flow] == 0 {
		t.Errorf("the switch did not count %v; it saw %v", flow, sw.Flows())
	}
}

func TestNothingLeavesTheSegment(t *testing.T) {
	// A listener of the machine that runs the test, reachable from every ordinary socket of it.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	outside := netip.MustParseAddrPort(ln.Addr().String())

	sw := NewSwitch()
	newHost(t, sw, hostAddress, hostMAC)
	guest, _ := newHost(t, sw, Address(1), MAC(1))
	// The guest does what a real one would: everything foreign goes to the gateway.
	guest.stack.AddRoute(tcpip.Route{
		Destination: mustSubnet(t, "0.0.0.0/0"), Gateway: tcpip.AddrFrom4(hostAddress.As4()), NIC: nic,
	})
	for _, to := range []string{outside.String(), "192.0.2.1:80", "169.254.169.254:80"} {
		if conn, err := dial(t, guest, to, time.Second); err == nil {
			conn.Close()
			t.Errorf("a guest connected to %s", to)
		}
	}
	tried := Flow{Src: Address(1), Dst: netip.MustParseAddr("192.0.2.1"), Protocol: 6, DstPort: 80}
	if sw.Flows()[tried] == 0 {
		t.Errorf("the guest's attempt never reached the switch: the test proves nothing; flows %v", sw.Flows())
	}
	if err := ln.(*net.TCPListener).SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if conn, err := ln.Accept(); err == nil {
		conn.Close()
		t.Error("a connection from the segment arrived at the machine's loopback")
	}
}

func TestFurtherAddress(t *testing.T) {
	sw := NewSwitch()
	host, _ := newHost(t, sw, hostAddress, hostMAC)
	if err := host.AddAddress(netip.MustParseAddr("169.254.169.254")); err != nil {
		t.Fatal(err)
	}
	echo(t, host, 80)
	guest, _ := newHost(t, sw, Address(1), MAC(1))
	guest.stack.AddRoute(tcpip.Route{
		Destination: mustSubnet(t, "0.0.0.0/0"), Gateway: tcpip.AddrFrom4(hostAddress.As4()), NIC: nic,
	})
	conn, err := dial(t, guest, "169.254.169.254:80", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func mustSubnet(t *testing.T, cidr string) tcpip.Subnet {
	t.Helper()
	p := netip.MustParsePrefix(cidr)
	s, err := tcpip.NewSubnet(tcpip.AddrFrom4(p.Addr().As4()), tcpip.MaskFromBytes(net.CIDRMask(p.Bits(), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCutCables(t *testing.T) {
	toEcho := Flow{Src: Address(1), Dst: Address(2), Protocol: 6, DstPort: 7}
	for _, tt := range []struct {
		name         string
		cut, restore func(sw *Switch, a, b *Port)
		thirdReached bool
	}{
		{
			name:    "pulled",
			cut:     func(_ *Switch, _, b *Port) { b.SetCable(false) },
			restore: func(_ *Switch, _, b *Port) { b.SetCable(true) },
		},
		{
			name:         "severed",
			cut:          func(sw *Switch, a, b *Port) { sw.Sever(a, b) },
			restore:      func(sw *Switch, a, b *Port) { sw.Mend(a, b) },
			thirdReached: true,
		},
		{
			name:         "blocked",
			cut:          func(sw *Switch, _, _ *Port) { sw.Block(toEcho) },
			restore:      func(sw *Switch, _, _ *Port) { sw.Unblock(toEcho) },
			thirdReached: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sw := NewSwitch()
			a, portA := newHost(t, sw, Address(1), MAC(1))
			b, portB := newHost(t, sw, Address(2), MAC(2))
			c, _ := newHost(t, sw, Address(3), MAC(3))
			echo(t, b, 7)
			const address = "192.168.127.12:7"
			mustDial := func(from *Host, when string) {
				t.Helper()
				conn, err := dial(t, from, address, 10*time.Second)
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				conn.Close()
			}
			mustDial(a, "before the cut")
			tt.cut(sw, portA, portB)
			if conn, err := dial(t, a, address, time.Second); err == nil {
				conn.Close()
				t.Error("a connection crossed the cut")
			}
			if tt.thirdReached {
				mustDial(c, "third host during the cut")
			}
			tt.restore(sw, portA, portB)
			mustDial(a, "after the cut")
		})
	}
}

// TestSilentPortHoldsUpNobody has one machine whose card reads nothing, as in firmware, while others talk.
func TestSilentPortHoldsUpNobody(t *testing.T) {
	sw := NewSwitch()
	near, far := net.Pipe() // unbuffered: a write blocks until somebody reads
	defer far.Close()
	silent := sw.AddPort("silent")
	go silent.Serve(near)
	talker := sw.AddPort("talker")
	for range 3 * portQueue {
		sw.forward(talker, broadcast())
	}
	a, _ := newHost(t, sw, Address(1), MAC(1))
	b, _ := newHost(t, sw, Address(2), MAC(2))
	echo(t, b, 7)
	conn, err := dial(t, a, "192.168.127.12:7", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func broadcast() []byte {
	frame := make([]byte, 60)
	copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	return frame
}

func TestFraming(t *testing.T) {
	var wire bytes.Buffer
	frames := [][]byte{broadcast(), bytes.Repeat([]byte{7}, frameMax)}
	for _, f := range frames {
		if err := writeFrame(&wire, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range frames {
		got, err := readFrame(&wire)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("frame of %d bytes came back as %d other bytes", len(want), len(got))
		}
	}
	for name, bad := range map[string][]byte{
		"too long":  {0, 2, 0, 0},
		"cut short": {0, 0, 0, 9, 1},
	} {
		if _, err := readFrame(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDHCP(t *testing.T) {
	sw := NewSwitch()
	server, _ := newHost(t, sw, hostAddress, hostMAC)
	if err := server.ServeDHCP(quiet()); err != nil {
		t.Fatal(err)
	}
	port := sw.AddPort("client")
	near, client := net.Pipe()
	defer client.Close()
	go port.Serve(near)

	discover, err := dhcpv4.NewDiscovery(MAC(5))
	if err != nil {
		t.Fatal(err)
	}
	go writeFrame(client, udpFrame(discover.ToBytes()))
	client.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		frame, err := readFrame(client)
		if err != nil {
			t.Fatalf("no offer: %v", err)
		}
		if flow, ok := flowOf(frame); !ok || flow.DstPort != dhcpv4.ClientPort {
			continue
		}
		offer, err := dhcpv4.FromBytes(frame[frameMin+20+8:])
		if err != nil {
			t.Fatal(err)
		}
		if got, want := offer.YourIPAddr.String(), Address(5).String(); got != want || offer.MessageType() != dhcpv4.MessageTypeOffer {
			t.Errorf("got %s of %s, want an offer of %s", offer.MessageType(), got, want)
		}
		break
	}

	stranger, err := dhcpv4.NewDiscovery(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := new(Host).answerDHCP(stranger); err == nil {
		t.Errorf("a stranger was offered %s", reply.YourIPAddr)
	}
}

// udpFrame wraps a DHCP client's message as it goes over the wire, without UDP checksum.
func udpFrame(payload []byte) []byte {
	udp := append([]byte{0, 68, 0, 67, byte((len(payload) + 8) >> 8), byte(len(payload) + 8), 0, 0}, payload...)
	ip := []byte{0x45, 0, byte((len(udp) + 20) >> 8), byte(len(udp) + 20), 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	ip[10], ip[11] = byte(^sum>>8), byte(^sum)
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, MAC(5)...)
	frame = append(frame, 0x08, 0x00)
	return append(append(frame, ip...), udp...)
}

func TestDNS(t *testing.T) {
	sw := NewSwitch()
	server, _ := newHost(t, sw, hostAddress, hostMAC)
	guest, _ := newHost(t, sw, Address(1), MAC(1))
	if err := server.ServeDNS(quiet(), func(name string) (netip.Addr, bool) {
		return Address(2), name == "server-2"
	}); err != nil {
		t.Fatal(err)
	}
	at := fullAddress(netip.AddrPortFrom(hostAddress, 53))
	conn, err := gonet.DialUDP(guest.stack, nil, &at, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, tt := range []struct {
		name  string
		qtype dnsmessage.Type
		rcode dnsmessage.RCode
		addrs int
	}{
		{"server-2.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, 1},
		{"SERVER-2.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, 1},
		{"server-2.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, 0},
		{"registry.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
	} {
		query := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 9, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(tt.name), Type: tt.qtype, Class: dnsmessage.ClassINET}},
		}
		packed, err := query.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(packed); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 1500)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%s %s: %v", tt.name, tt.qtype, err)
		}
		var reply dnsmessage.Message
		if err := reply.Unpack(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if reply.RCode != tt.rcode || len(reply.Answers) != tt.addrs {
			t.Errorf("%s %s: got %s with %d answers, want %s with %d", tt.name, tt.qtype, reply.RCode, len(reply.Answers), tt.rcode, tt.addrs)
		}
	}
}

func TestNTP(t *testing.T) {
	sw := NewSwitch()
	server, _ := newHost(t, sw, hostAddress, hostMAC)
	guest, _ := newHost(t, sw, Address(1), MAC(1))
	now := time.Date(2026, 3, 4, 5, 6, 7, 500_000_000, time.UTC)
	// A client hears what comes from the address that it has asked, which is not the host's first.
	further := netip.MustParseAddr("198.51.100.3")
	if err := server.AddAddress(further); err != nil {
		t.Fatal(err)
	}
	if err := server.ServeNTP(quiet(), further, func() time.Time { return now }); err != nil {
		t.Fatal(err)
	}
	guest.stack.AddRoute(tcpip.Route{
		Destination: mustSubnet(t, "0.0.0.0/0"), Gateway: tcpip.AddrFrom4(hostAddress.As4()), NIC: nic,
	})
	at := fullAddress(netip.AddrPortFrom(further, 123))
	conn, err := gonet.DialUDP(guest.stack, nil, &at, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := make([]byte, 48)
	request[0] = 0x23 // version 4, client
	copy(request[40:], "whenever")
	for _, send := range [][]byte{{1, 2, 3}, append([]byte{0x24}, request[1:]...), request} { // only the last is one
		if _, err := conn.Write(send); err != nil {
			t.Fatal(err)
		}
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	// The seconds from 1900 to that day, and half a second.
	transmit := "\xed\x52\x3c\x3f\x80\x00\x00\x00"
	if reply := string(buf[:n]); n != 48 || reply[0] != 0x24 || reply[1] != 1 || reply[24:32] != "whenever" || reply[40:] != transmit {
		t.Errorf("got % x", reply)
	}
}

func TestForward(t *testing.T) {
	sw := NewSwitch()
	host, _ := newHost(t, sw, hostAddress, hostMAC)
	guest, _ := newHost(t, sw, Address(1), MAC(1))
	echo(t, guest, 6443)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	addr, err := host.Forward(ctx, quiet(), "127.0.0.1:0", "192.168.127.11:6443")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("ahoy")); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "ahoy" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := host.Forward(ctx, quiet(), "0.0.0.0:0", "192.168.127.11:6443"); err == nil {
		t.Error("a forward that the network can reach was allowed")
	}
}

// TestVLAN has hosts of three VLANs on one switch, two of them with the same address.
func TestVLAN(t *testing.T) {
	sw := NewSwitch()
	vlanHost := func(address string, vlan uint16) *Host {
		t.Helper()
		addr := netip.MustParsePrefix(address)
		mac := HostMAC(addr.Addr())
		mac[1] = byte(vlan)
		h, err := NewHost(sw, HostConfig{Address: addr, MAC: mac, VLAN: vlan})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		return h
	}
	echo(t, vlanHost("10.100.0.1/24", 100), 7)
	echo(t, vlanHost("10.100.0.3/24", 200), 8)
	vlanHost("10.100.0.1/24", 0)
	guest := vlanHost("10.100.0.2/24", 100)
	conn, err := dial(t, guest, "10.100.0.1:7", 5*time.Second)
	if err != nil {
		t.Fatalf("within the VLAN: %v", err)
	}
	conn.Close()
	if conn, err := dial(t, guest, "10.100.0.3:8", time.Second); err == nil {
		conn.Close()
		t.Error("a connection crossed from one VLAN to another")
	}
}

func TestSilentDHCP(t *testing.T) {
	sw := NewSwitch()
	server, _ := newHost(t, sw, hostAddress, hostMAC)
	if err := server.ServeDHCP(quiet()); err != nil {
		t.Fatal(err)
	}
	server.SetDHCP(false)
	port := sw.AddPort("client")
	near, client := net.Pipe()
	defer client.Close()
	go port.Serve(near)
	discover, err := dhcpv4.NewDiscovery(MAC(5))
	if err != nil {
		t.Fatal(err)
	}
	// offered waits for a frame to the client, and says whether there was one.
	offered := func(within time.Duration) bool {
		go writeFrame(client, udpFrame(discover.ToBytes()))
		client.SetReadDeadline(time.Now().Add(within))
		for {
			frame, err := readFrame(client)
			if err != nil {
				return false
			}
			if flow, ok := flowOf(frame); ok && flow.DstPort == dhcpv4.ClientPort {
				return true
			}
		}
	}
	if offered(time.Second) {
		t.Error("a silent server answered")
	}
	server.SetDHCP(true)
	if !offered(5 * time.Second) {
		t.Error("the server stayed silent")
	}
}

func TestCardsHaveAddressesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{hostMAC.String(): true}
	for machine := FirstMachine; machine <= LastMachine; machine++ {
		for card := range 4 {
			mac := CardMAC(machine, card)
			if seen[mac.String()] {
				t.Fatalf("card %d of machine %d has the address %s of another", card, machine, mac)
			}
			seen[mac.String()] = true
			if _, answered := machineOf(mac); answered != (card == 0) {
				t.Errorf("card %d of machine %d: DHCP answers: %v", card, machine, answered)
			}
		}
	}
}
