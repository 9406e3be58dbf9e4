// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// ServeDNS answers DNS queries over UDP until the host is closed: with an address for the names that lookup knows, with
// "no such name" for all others. lookup gets the name in lower case without the last dot.
func (h *Host) ServeDNS(log *slog.Logger, lookup func(name string) (netip.Addr, bool)) error {
	conn, err := gonet.DialUDP(h.stack, &tcpip.FullAddress{NIC: nic, Port: 53}, nil, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("bind DNS socket: %w", err)
	}
	h.wg.Add(2)
	go h.closeWithHost(conn)
	go func() {
		defer h.wg.Done()
		buf := make([]byte, frameMax)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			reply, err := answerDNS(buf[:n], lookup)
			if err != nil {
				log.Debug("DNS query not answered", "from", from, "err", err)
				continue
			}
			if _, err := conn.WriteTo(reply, from); err != nil {
				log.Debug("DNS reply not sent", "from", from, "err", err)
			}
		}
	}()
	return nil
}

func answerDNS(query []byte, lookup func(string) (netip.Addr, bool)) ([]byte, error) {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	addr, known := lookup(name)
	rcode := dnsmessage.RCodeSuccess
	if !known {
		rcode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: head.ID, Response: true, Authoritative: true,
		RecursionDesired: head.RecursionDesired, RecursionAvailable: true, RCode: rcode,
	})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	// A known name without the wanted kind of record is an empty answer, not "no such name": resolvers ask for A and
	// AAAA at once and would take the latter's refusal for both.
	if known && q.Type == dnsmessage.TypeA {
		const ttl = 5 // seconds
		rr := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl}
		if err := b.AResource(rr, dnsmessage.AResource{A: addr.As4()}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// closeWithHost closes a socket of the stack when the host goes; the stack's own Close leaves blocked readers blocked.
// The caller has counted it in h.wg.
func (h *Host) closeWithHost(c io.Closer) {
	defer h.wg.Done()
	<-h.closing.Done()
	c.Close()
}
