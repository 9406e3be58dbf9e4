// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// leaseTime is long enough that no machine of a test ever has to renew in the middle of a cut cable.
const leaseTime = 12 * time.Hour

// ServeDHCP answers DHCP requests of machines (see MAC) with their fixed address until the host is closed. Requests from
// other hardware addresses stay unanswered, and all of them while SetDHCP says so.
func (h *Host) ServeDHCP(log *slog.Logger) error {
	var wq waiter.Queue
	ep, terr := h.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, &wq)
	if terr != nil {
		return fmt.Errorf("open DHCP socket: %s", terr)
	}
	ep.SocketOptions().SetBroadcast(true)
	if terr := ep.Bind(tcpip.FullAddress{NIC: nic, Port: dhcpv4.ServerPort}); terr != nil {
		ep.Close()
		return fmt.Errorf("bind DHCP socket: %s", terr)
	}
	conn := gonet.NewUDPConn(&wq, ep)
	h.wg.Add(2)
	go h.closeWithHost(conn)
	go func() {
		defer h.wg.Done()
		buf := make([]byte, frameMax)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					log.Debug("DHCP server ends", "err", err)
				}
				return
			}
			if h.mute.Load() {
				continue
			}
			request, err := dhcpv4.FromBytes(buf[:n])
			if err != nil {
				log.Warn("DHCP request makes no sense", "err", err)
				continue
			}
			if request.MessageType() == dhcpv4.MessageTypeRelease {
				continue // wants no answer, and the address stays the machine's
			}
			reply, err := h.answerDHCP(request)
			if err != nil {
				log.Warn("DHCP request not answered", "mac", request.ClientHWAddr.String(), "err", err)
				continue
			}
			// Always broadcast: the client may not have the address yet that it is about to be given.
			to := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
			if _, err := conn.WriteTo(reply.ToBytes(), to); err != nil {
				log.Warn("DHCP reply not sent", "mac", request.ClientHWAddr.String(), "err", err)
			}
		}
	}()
	return nil
}

// SetDHCP has the DHCP server answer, as it does at first, or be silent.
func (h *Host) SetDHCP(answers bool) { h.mute.Store(!answers) }

// SetAddress has DHCP hand machine n the address of number at, from its next lease on.
func (h *Host) SetAddress(n, at int) { h.moved.Store(n, at) }

func (h *Host) answerDHCP(request *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	n, ok := machineOf(request.ClientHWAddr)
	if !ok {
		return nil, fmt.Errorf("not a machine of this segment")
	}
	if at, ok := h.moved.Load(n); ok {
		n = at.(int)
	}
	var answer dhcpv4.MessageType
	switch t := request.MessageType(); t {
	case dhcpv4.MessageTypeDiscover:
		answer = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		answer = dhcpv4.MessageTypeAck
	default:
		return nil, fmt.Errorf("no answer to %s", t)
	}
	host := net.IP(hostAddress.AsSlice())
	return dhcpv4.NewReplyFromRequest(request, append(h.bootOptions(request),
		dhcpv4.WithMessageType(answer),
		dhcpv4.WithYourIP(Address(n).AsSlice()),
		dhcpv4.WithServerIP(host),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(host)),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(leaseTime)),
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(subnet.Bits(), 32))),
		dhcpv4.WithOption(dhcpv4.OptRouter(host)),
		dhcpv4.WithOption(dhcpv4.OptDNS(host)),
	)...)
}
