// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// ServeNTP tells the time over NTP, as now has it, at one of the host's addresses, until the host is closed. Clients want
// their answers from the address that they have asked.
func (h *Host) ServeNTP(log *slog.Logger, at netip.Addr, now func() time.Time) error {
	address := fullAddress(netip.AddrPortFrom(at, ntpPort))
	conn, err := gonet.DialUDP(h.stack, &address, nil, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("bind NTP socket: %w", err)
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
			reply, err := answerNTP(buf[:n], now())
			if err != nil {
				log.Debug("NTP request not answered", "from", from, "err", err)
				continue
			}
			if _, err := conn.WriteTo(reply, from); err != nil {
				log.Debug("NTP reply not sent", "from", from, "err", err)
			}
		}
	}()
	return nil
}

const ntpPort = 123

// The header of NTP version 4 (RFC 5905, 7.3). Times are seconds since 1900, with 32 bits behind the point.
const (
	ntpHeader = 48 // bytes

	ntpClient, ntpServer = 3, 4 // the mode, lowest three bits of the first byte
	ntpVersionBits       = 0b00111000

	ntpReferenceAt, ntpOriginAt, ntpReceiveAt, ntpTransmitAt = 16, 24, 32, 40
)

// ntpEpoch is 1900 in Unix time.
const ntpEpoch = -2208988800

// answerNTP answers a client as a server that is right to the millisecond, by a clock of its own.
func answerNTP(request []byte, now time.Time) ([]byte, error) {
	if len(request) < ntpHeader {
		return nil, fmt.Errorf("it has %d bytes", len(request))
	}
	if mode := request[0] & 0b111; mode != ntpClient {
		return nil, fmt.Errorf("its mode is %d", mode)
	}
	reply := make([]byte, ntpHeader)
	reply[0] = request[0]&ntpVersionBits | ntpServer
	reply[1] = 1          // stratum: a server with a reference clock
	reply[2] = request[2] // poll interval
	reply[3] = 0xf6       // precision: 2^-10 s
	copy(reply[12:], "LOCL")
	stamp := ntpTime(now)
	binary.BigEndian.PutUint64(reply[ntpReferenceAt:], stamp)
	copy(reply[ntpOriginAt:], request[ntpTransmitAt:ntpTransmitAt+8])
	binary.BigEndian.PutUint64(reply[ntpReceiveAt:], stamp)
	binary.BigEndian.PutUint64(reply[ntpTransmitAt:], stamp)
	return reply, nil
}

// ntpTime wraps in 2036, as NTP's own times do.
func ntpTime(t time.Time) uint64 {
	return uint64(uint32(t.Unix()-ntpEpoch))<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second) //nolint:gosec // a time
}
