// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// dialTimeout is K3s'.
	dialTimeout = 10 * time.Second
	// headStart is how long a server has to answer before the next is asked too.
	// On a network where connections take longer than that, two are made and one
	// is dropped.
	headStart = 300 * time.Millisecond
	// shortPatience is how long a connection may go unanswered before it is dead,
	// if there is another server to turn to: watches are to move within five
	// seconds.
	shortPatience = 4 * time.Second
	// longPatience is the same for a node with one server, for which a new
	// connection is no better than the old one.
	longPatience = 30 * time.Second
)

// Patience is how long a server may be silent before it is taken for dead.
func (b *Balancer) Patience() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	listed := 0
	for _, s := range b.servers {
		if s.listed {
			listed++
		}
	}
	if listed > 1 {
		return shortPatience
	}
	return longPatience
}

// dialResult is how one server answered.
type dialResult struct {
	server *server
	left   time.Time // the server's, before it was dialed
	conn   net.Conn
	err    error
}

// DialContext connects to a server: the best one, and, if it doesn't answer at
// once, the others too, until one does. What it is given as network and address
// is ignored, so that it fits where net.Dialer's does.
func (b *Balancer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	b.mu.Lock()
	groups := b.groupsLocked()
	b.mu.Unlock()
	var first error
	for _, group := range groups {
		c, err := b.dialFirst(ctx, group)
		if err == nil || ctx.Err() != nil {
			return c, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// dialFirst connects to the first of the servers, or to whichever is faster than those before it by more than headStart.
func (b *Balancer) dialFirst(ctx context.Context, order []*server) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := b.Patience()
	results := make(chan dialResult, len(order)) // nobody waits for who comes too late
	asked, answered := 0, 0
	turn := time.NewTimer(0)
	defer turn.Stop()
	var errs []error
	for {
		select {
		case <-turn.C:
			s := order[asked]
			asked++
			b.mu.Lock()
			left := s.left
			b.mu.Unlock()
			go func() {
				began := time.Now() // of the process: what the balancer goes by may be moved
				conn, err := b.Dial(ctx, s.address, patience)
				if err == nil || ctx.Err() == nil {
					b.Dialed(time.Since(began), err)
				}
				results <- dialResult{s, left, conn, err}
			}()
			if asked < len(order) {
				turn.Reset(headStart)
			}
		case r := <-results:
			answered++
			if r.err == nil {
				go closeLate(results, asked-answered)
				return b.connected(r.server, r.left, r.conn)
			}
			errs = append(errs, r.err)
			if ctx.Err() == nil {
				b.notConnected(r.server, r.err)
			}
			if asked < len(order) {
				turn.Reset(0)
			} else if answered == asked {
				return nil, allFailed(errs)
			}
		case <-ctx.Done():
			go closeLate(results, asked-answered)
			return nil, errors.Join(append(errs, ctx.Err())...)
		}
	}
}

// closeLate ends the connections that are still to come, and aren't needed.
func closeLate(results <-chan dialResult, n int) {
	for range n {
		if r := <-results; r.err == nil {
			r.conn.Close()
		}
	}
}

// allFailed leaves the error of an only server as it is.
func allFailed(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return fmt.Errorf("all servers failed: %s", strings.Join(texts, "; "))
}

func (b *Balancer) connected(s *server, left time.Time, c net.Conn) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.left != left {
		c.Close()
		return nil, fmt.Errorf("server %s was removed while it was dialed", s.address)
	}
	w := &conn{Conn: c, balancer: b, server: s}
	s.conns[w] = struct{}{}
	s.dials++
	if !s.mute {
		s.failure = ""
		b.stepLocked(s, dialed)
	}
	return w, nil
}

func (b *Balancer) notConnected(s *server, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.dials++
	s.failure = err.Error()
	b.stepLocked(s, dialFailed)
}

// mute is for a server that has accepted a connection and then ended it without a word: to its clients it is as good as
// one that accepts none.
func (b *Balancer) mute(s *server, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mute, s.failure = true, "it ended a connection without a word: "+err.Error()
	b.stepLocked(s, dialFailed)
}

// spoke is for a server that says something: one that was mute has answered now.
func (b *Balancer) spoke(s *server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.mute {
		s.mute, s.failure = false, ""
		b.stepLocked(s, dialed)
	}
}

// closeConns ends the connections to a server. Their users notice, and connect
// again.
func (s *server) closeConns() {
	for c := range s.conns {
		c.Conn.Close()
		delete(s.conns, c)
	}
}

// conn is a connection that its server knows of.
type conn struct {
	net.Conn
	balancer *Balancer
	server   *server
	once     sync.Once
	// asked is whether anything was sent, answered whether anything came back.
	asked, answered atomic.Bool
}

// Read notices a server that ends a connection without a word. Something between may accept connections for servers that
// are down, as load balancers do that don't look whether they are there.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.answered.CompareAndSwap(false, true) {
		c.balancer.spoke(c.server)
	}
	if err != nil && c.asked.Load() && !c.answered.Load() && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.balancer.mute(c.server, err)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.asked.Store(true)
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.balancer.mu.Lock()
		defer c.balancer.mu.Unlock()
		delete(c.server.conns, c)
	})
	return c.Conn.Close()
}

// CloseWrite and CloseRead pass on that one side has said all it had to say.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// CloseRead is CloseWrite for the other direction.
func (c *conn) CloseRead() error {
	if half, ok := c.Conn.(interface{ CloseRead() error }); ok {
		return half.CloseRead()
	}
	return c.Close()
}

// dialServer connects with a socket that the kernel ends when the server's
// kernel has not answered for patience. Where nothing is sent, it asks each
// quarter of that.
func dialServer(ctx context.Context, address string, patience time.Duration) (net.Conn, error) {
	d := net.Dialer{
		Timeout: dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: patience / 4, Interval: patience / 4, Count: 3,
		},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds()))
			})
			return errors.Join(err, failed)
		},
	}
	return d.DialContext(ctx, "tcp", address)
}
