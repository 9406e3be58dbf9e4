// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

func TestOnlyOutbound(t *testing.T) {
	sw := NewSwitch()
	hidden, port := newHost(t, sw, Address(1), MAC(1))
	other, _ := newHost(t, sw, Address(2), MAC(2))
	harness, _ := newHost(t, sw, hostAddress, hostMAC)
	echo(t, hidden, 7)
	echo(t, other, 7)
	before, err := dial(t, other, "192.168.127.11:7", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	before.Close()
	port.OnlyOutbound(hostAddress)

	if conn, err := dial(t, other, "192.168.127.11:7", time.Second); err == nil {
		conn.Close()
		t.Error("another host has called it")
	}
	if conn, err := dial(t, harness, "192.168.127.11:7", 5*time.Second); err != nil {
		t.Errorf("the host that may call it: %v", err)
	} else {
		conn.Close()
	}
	conn, err := dial(t, hidden, "192.168.127.12:7", 5*time.Second)
	if err != nil {
		t.Fatalf("it can't call others: %v", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Errorf("it hears no answer: %v", err)
	}
}

// TestOnlyOutboundDatagrams: an answer comes from where the question went.
func TestOnlyOutboundDatagrams(t *testing.T) {
	sw := NewSwitch()
	hidden, port := newHost(t, sw, Address(1), MAC(1))
	other, _ := newHost(t, sw, Address(2), MAC(2))
	echo(t, other, 7)
	conn, err := dial(t, hidden, "192.168.127.12:7", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close() // they know each other's hardware addresses now: nothing waits for ARP
	port.OnlyOutbound()
	socket := func(h *Host, local string) *gonet.UDPConn {
		t.Helper()
		from := fullAddress(netip.MustParseAddrPort(local))
		conn, err := gonet.DialUDP(h.stack, &from, nil, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	asks, answers, stranger := socket(hidden, "192.168.127.11:100"), socket(other, "192.168.127.12:53"), socket(other, "192.168.127.12:54")
	send := func(from *gonet.UDPConn, to, text string) {
		t.Helper()
		if _, err := from.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			t.Fatal(err)
		}
	}
	send(answers, "192.168.127.11:100", "too soon")
	send(asks, "192.168.127.12:53", "question")
	buffer := make([]byte, 100)
	answers.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, _, err := answers.ReadFrom(buffer); err != nil || string(buffer[:n]) != "question" {
		t.Fatalf("%q, %v", buffer[:n], err)
	}
	send(stranger, "192.168.127.11:100", "from another port")
	send(answers, "192.168.127.11:100", "answer")
	asks.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, _, err := asks.ReadFrom(buffer); err != nil || string(buffer[:n]) != "answer" {
		t.Errorf("it hears %q, %v", buffer[:n], err)
	}
}
