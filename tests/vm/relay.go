// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/inetaf/tcpproxy"
)

// Relay passes what machines send to a port of address, which also has names, on to another address, as the load
// balancer of a data centre does. It ends with the lab, or when the function it returns is called: then its connections
// are cut, and new ones refused.
func (l *Lab) Relay(address netip.Addr, port uint16, to string, names ...string) (stop func(), err error) {
	return l.relay(address, port, names, func(ctx context.Context) (net.Conn, error) { return l.host.Dial(ctx, "tcp", to) })
}

// Expose is Relay to a server on this machine's loopback, such as a database.
func (l *Lab) Expose(address netip.Addr, port uint16, to netip.AddrPort, names ...string) (stop func(), err error) {
	return l.relay(address, port, names, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
	})
}

func (l *Lab) relay(address netip.Addr, port uint16, names []string, dial func(context.Context) (net.Conn, error)) (stop func(), err error) {
	if err := l.addAddresses([]netip.Addr{address}, names); err != nil {
		return nil, err
	}
	listener, err := l.host.Listen(port)
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", address, err)
	}
	ctx, cancel := context.WithCancel(l.ctx)
	proxy := &tcpproxy.Proxy{ListenFunc: func(string, string) (net.Listener, error) { return listener, nil }}
	proxy.AddRoute("", &tcpproxy.DialProxy{
		OnDialError: func(src net.Conn, err error) {
			l.cfg.Log.Info("relay of the lab", "of", address, "err", err)
			src.Close()
		},
		DialContext: func(dialing context.Context, _, _ string) (net.Conn, error) {
			conn, err := dial(dialing)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() })
			}
			return conn, err
		},
	})
	if err := proxy.Start(); err != nil {
		cancel()
		return nil, err
	}
	context.AfterFunc(ctx, func() { proxy.Close() }) //nolint:errcheck // there is nobody left to tell
	return cancel, nil
}
