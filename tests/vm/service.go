// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Serve answers HTTP on addresses that machines reach through the lab's host, as they reach a cloud's metadata server, as
// long as the lab lives. The names are those of the first address. A lab has one such server, which answers at the
// addresses of the lab's host too: that of DHCP is one.
func (l *Lab) Serve(handler http.Handler, addresses []netip.Addr, names ...string) error {
	return l.serve(80, handler, nil, addresses, names)
}

// ServeTLS is Serve for HTTPS.
func (l *Lab) ServeTLS(handler http.Handler, certificate tls.Certificate, addresses []netip.Addr, names ...string) error {
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return l.serve(443, handler, config, addresses, names)
}

func (l *Lab) serve(port uint16, handler http.Handler, config *tls.Config, addresses []netip.Addr, names []string) error {
	if err := l.addAddresses(addresses, names); err != nil {
		return err
	}
	listener, err := l.host.Listen(port)
	if err != nil {
		return fmt.Errorf("serve on %v: %w", addresses, err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	l.serveOn(listener, handler)
	return nil
}

// serveOn answers HTTP as long as the lab lives.
func (l *Lab) serveOn(listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: requestTimeout}
	context.AfterFunc(l.ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			l.cfg.Log.Error("server of the lab ended", "listener", listener.Addr(), "err", err)
		}
	}()
}

// ServeTime tells the time of the machine that the lab is on, over NTP, at an address with names. A lab has one such
// server; a lab without has machines without any time server, for it leads nowhere.
func (l *Lab) ServeTime(address netip.Addr, names ...string) error {
	if err := l.addAddresses([]netip.Addr{address}, names); err != nil {
		return err
	}
	return l.host.ServeNTP(l.cfg.Log, address, time.Now)
}

func (l *Lab) addAddresses(addresses []netip.Addr, names []string) error {
	for _, addr := range addresses {
		if err := l.host.AddAddress(addr); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		l.names[name] = addresses[0]
	}
	return nil
}
