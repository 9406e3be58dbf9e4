// SPDX-License-Identifier: Apache-2.0

// Package loadbalancer is the client-side load balancer of a node. Whoever on
// the node talks to the cluster connects to a port on the loopback; from there
// the connection goes to a server that is alive. The address the node was told
// to register at is only one of them, and may go away once the others are known.
//
// It assumes that every server answers alike, and passes bytes on without
// looking at them: who trusts whom is settled between the two ends.
package loadbalancer

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/inetaf/tcpproxy"
)

const (
	// checkInterval is K3s'.
	checkInterval = time.Second
	// restAfter is K3s': a server that was preferred for so long without being
	// dialed is healthy like the others.
	restAfter = time.Minute
	// settleAfter is how long a server must have been the best before the
	// connections to worse ones are ended.
	settleAfter = 5 * time.Second
)

// Options say which server to begin with.
type Options struct {
	// ServerURL is the registration address, such as https://server-1:6443.
	ServerURL string
	// StateFile keeps the servers' own addresses for the next start; it is K3s'
	// A/etc/k3s-agent-load-balancer.json.
	StateFile string
	// Seed orders servers that are otherwise alike, so that not every node goes to
	// the same one: the node's name.
	Seed string
	Log  *slog.Logger

	// What follows may be left out.

	// Dial makes a connection; patience is how long it may be silent before it
	// is dead.
	Dial func(ctx context.Context, address string, patience time.Duration) (net.Conn, error)
	// Dialed is told how long each attempt to connect took, and how it ended. One
	// that another server was quicker than is none.
	Dialed func(took time.Duration, err error)
	Now    func() time.Time
}

// Balancer knows the servers. Its methods may be called concurrently.
type Balancer struct {
	Options
	defaultAddress string

	mu      sync.Mutex
	servers map[string]*server // by address
}

// server is one address. Its fields are the balancer's to guard.
type server struct {
	address string
	listed  bool // by the cluster; else it is the default address
	state   State
	since   time.Time // of the state
	up      bool      // its tunnel is
	conns   map[*conn]struct{}
	dials   int
	failure string // of the last dial, if it failed
	// mute is whether it ended its last connection without a word; to connect to it says nothing then.
	mute bool
	// left is when the cluster stopped listing it, zero while it is listed, or the default address.
	left time.Time
}

// New returns a balancer that knows the registration address, and what the
// cluster has last said about its servers to this node.
func New(opts Options) (*Balancer, error) {
	u, err := url.Parse(opts.ServerURL)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("load balancer: %q isn't the URL of a server", opts.ServerURL)
	}
	if opts.Dial == nil {
		opts.Dial = dialServer
	}
	if opts.Dialed == nil {
		opts.Dialed = func(time.Duration, error) {}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b := &Balancer{
		Options:        opts,
		defaultAddress: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")),
		servers:        map[string]*server{},
	}
	b.addLocked(b.defaultAddress)
	known, former, err := readState(opts.StateFile, opts.ServerURL)
	if err != nil {
		// The registration address is left, and the cluster will tell.
		opts.Log.Warn("the servers known before are forgotten", "error", err)
	}
	if len(known) > 0 {
		for i, address := range former {
			s := b.addLocked(address)
			s.state, s.left = Invalid, b.Now().Add(-time.Duration(i)*time.Second)
		}
		b.listLocked(known)
	}
	return b, nil
}

// Serve passes on what connects to listener, until ctx ends.
func (b *Balancer) Serve(ctx context.Context, listener net.Listener) error {
	proxy := &tcpproxy.Proxy{ListenFunc: func(string, string) (net.Listener, error) { return listener, nil }}
	proxy.AddRoute("", &tcpproxy.DialProxy{
		DialContext:     b.DialContext,
		DialTimeout:     dialTimeout,
		KeepAlivePeriod: -1, // our dialer has set it, and the other side is this machine
		OnDialError: func(src net.Conn, err error) {
			src.Close()
			b.Log.Debug("no server for a connection", "error", err)
		},
	})
	if err := proxy.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		proxy.Close() //nolint:errcheck // the listener's error is Wait's
		b.closeAll()
	})
	defer stop()
	go b.checkEvery(ctx, checkInterval)
	err := proxy.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept connections: %w", err)
}

// SetServers takes the addresses, HOST:PORT, that the cluster lists. None at all
// is taken for a mistake.
func (b *Balancer) SetServers(addresses []string) {
	if len(addresses) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listLocked(addresses)
	state := savedState{ServerURL: b.ServerURL, ServerAddresses: addresses}
	for _, s := range b.formerLocked() {
		state.FormerAddresses = append(state.FormerAddresses, s.address)
	}
	if err := state.write(b.StateFile); err != nil {
		b.Log.Warn("the servers aren't kept for the next start", "error", err)
	}
}

// SetHealth takes whether the tunnel to an address is up. A tunnel that never
// was up says nothing.
func (b *Balancer) SetHealth(address string, up bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.servers[address]
	if s == nil {
		return
	}
	went := s.up && !up
	s.up = up
	if went {
		b.stepLocked(s, failed)
	} else if up {
		b.stepLocked(s, passed)
	}
}

// Addresses returns the servers that the cluster lists, or the registration
// address while it hasn't listed any.
func (b *Balancer) Addresses() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var addresses []string
	for _, s := range b.servers {
		if s.listed {
			addresses = append(addresses, s.address)
		}
	}
	if len(addresses) == 0 {
		addresses = []string{b.defaultAddress}
	}
	slices.Sort(addresses)
	return addresses
}

// ServerStatus is what a balancer knows of one server. Its JSON form is part of
// that of `skerry status -o json`.
type ServerStatus struct {
	Address     string    `json:"address" yaml:"address"`
	State       State     `json:"state" yaml:"state"`
	Since       time.Time `json:"since" yaml:"since"`
	Connections int       `json:"connections" yaml:"connections"`
	Dials       int       `json:"dials" yaml:"dials"`
	Tunnel      bool      `json:"tunnel" yaml:"tunnel"` // it is up
	Failure     string    `json:"failure,omitempty" yaml:"failure,omitempty"`
}

// Status returns the servers, the best first.
func (b *Balancer) Status() []ServerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	status := []ServerStatus{}
	for _, s := range b.orderLocked() {
		status = append(status, ServerStatus{
			Address: s.address, State: s.state, Since: s.since, Connections: len(s.conns), Dials: s.dials,
			Tunnel: s.up, Failure: s.failure,
		})
	}
	return status
}

func (b *Balancer) addLocked(address string) *server {
	s := &server{address: address, state: Unchecked, since: b.Now(), conns: map[*conn]struct{}{}}
	b.servers[address] = s
	return s
}

// listLocked makes addresses the servers that the cluster lists.
func (b *Balancer) listLocked(addresses []string) {
	for _, address := range addresses {
		s := b.servers[address]
		if s == nil {
			s = b.addLocked(address)
			b.Log.Info("server is new", "address", address)
		}
		s.listed, s.left = true, time.Time{}
		if s.state == Standby || s.state == Invalid {
			b.enterLocked(s, Unchecked)
		}
	}
	for _, s := range b.servers {
		switch {
		case slices.Contains(addresses, s.address):
		case s.address == b.defaultAddress:
			// Its connections stay until another server is known to answer; its
			// tunnel ends, which says nothing of it.
			s.listed, s.up = false, false
			if s.state != Failed {
				b.enterLocked(s, Standby)
			}
		case s.state != Invalid:
			b.enterLocked(s, Invalid)
			s.closeConns()
			s.listed, s.up, s.mute, s.left = false, false, false, b.Now()
		}
	}
	for i, s := range b.formerLocked() {
		if i >= maxFormer {
			delete(b.servers, s.address)
		}
	}
}

func (b *Balancer) stepLocked(s *server, e event) {
	if e == passed {
		s.mute = false
	}
	b.enterLocked(s, next(s.state, e, s.listed || !b.anyListedLocked(), len(s.conns)))
	// One that takes no new connections while its tunnel is up is stopping, and answers what it has been asked.
	if s.state == Failed && (e != dialFailed || !s.up || s.mute) {
		s.closeConns()
	}
}

func (b *Balancer) anyListedLocked() bool {
	for _, s := range b.servers {
		if s.listed {
			return true
		}
	}
	return false
}

func (b *Balancer) enterLocked(s *server, state State) {
	if s.state == state {
		return
	}
	level := slog.LevelInfo
	if state == Failed && s.state > Unchecked {
		level = slog.LevelWarn
	}
	b.Log.Log(context.Background(), level, "server changes state", "address", s.address,
		"from", s.state, "to", state, "connections", len(s.conns), "error", s.failure)
	s.state, s.since = state, b.Now()
}

func (b *Balancer) checkEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			b.check()
		}
	}
}

// check does what time brings about.
func (b *Balancer) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.Now()
	for _, s := range b.servers {
		if s.up {
			b.stepLocked(s, passed)
		}
		if s.state == Preferred && len(s.conns) == 0 && now.Sub(s.since) >= restAfter {
			b.stepLocked(s, rested)
		}
	}
	best := b.oneActiveLocked()
	// The caches of two servers are of different moments: what one client reads
	// should come from one. And the default address is not to be leant on.
	if best == nil || !best.listed || !best.up || best.state < Preferred || now.Sub(best.since) < settleAfter {
		return
	}
	for _, s := range b.servers {
		if s.state < best.state {
			s.closeConns()
		}
	}
}

// oneActiveLocked makes the busiest of the good servers the only active one, and
// returns the best server there is.
func (b *Balancer) oneActiveLocked() *server {
	order := b.orderLocked()
	if len(order) == 0 {
		return nil
	}
	var busiest *server
	for _, s := range order {
		if s.state >= Healthy && len(s.conns) > 0 && (busiest == nil || len(s.conns) > len(busiest.conns)) {
			busiest = s
		}
	}
	if busiest == nil {
		return order[0]
	}
	for _, s := range order {
		if s != busiest && s.state == Active {
			b.stepLocked(s, outdone)
		}
	}
	b.stepLocked(busiest, dialed)
	return busiest
}

func (b *Balancer) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.servers {
		s.closeConns()
	}
}
