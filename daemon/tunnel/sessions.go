// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"bufio"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// staleAfter is how long a tunnel may be silent. Agents ping every 5 s, so this
// is three pings missed; remotedialer itself notices after 60 s, and prefers the
// oldest tunnel of a node until then.
const staleAfter = 15 * time.Second

// sessions knows the network connections below the tunnels.
type sessions struct {
	mu    sync.Mutex
	conns map[string]map[*watchedConn]struct{} // by node
	now   func() time.Time
}

func newSessions() *sessions {
	return &sessions{conns: map[string]map[*watchedConn]struct{}{}, now: time.Now}
}

// liveWithin is how long a tunnel that pings each second may be silent and still
// count as alive. It is shorter than any machine takes to boot.
const liveWithin = 3 * pingInterval

func (s *sessions) add(node, bootID string, conn net.Conn) *watchedConn {
	w := watch(conn, s.now)
	w.bootID = bootID
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[node] == nil {
		s.conns[node] = map[*watchedConn]struct{}{}
	}
	s.conns[node][w] = struct{}{}
	return w
}

func (s *sessions) remove(node string, conn *watchedConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns[node], conn)
	if len(s.conns[node]) == 0 {
		delete(s.conns, node)
	}
}

// closeStale ends the tunnels of node that have been silent for too long.
func (s *sessions) closeStale(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns[node] {
		if conn.silence() > staleAfter {
			conn.Close() //nolint:errcheck // it is dead already
		}
	}
}

// elsewhere returns the address of a machine that has a tunnel of node, alive, and
// was booted under another id; "" if there is none. Agents without an id are K3s',
// and can't be told apart.
func (s *sessions) elsewhere(node, bootID string) string {
	if bootID == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns[node] {
		if conn.bootID != "" && conn.bootID != bootID && conn.silence() <= liveWithin {
			host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
			if err != nil {
				host = conn.RemoteAddr().String()
			}
			return host
		}
	}
	return ""
}

func (s *sessions) nodes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.conns))
}

func (s *sessions) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conns := range s.conns {
		for conn := range conns {
			conn.Close() //nolint:errcheck // nothing can be done about it
		}
	}
}

// watchedConn remembers when something was last read.
type watchedConn struct {
	net.Conn
	now      func() time.Time
	opened   time.Time
	bootID   string
	lastRead atomic.Int64 // nanoseconds after opened: a clock that is set moves nothing
}

func watch(conn net.Conn, now func() time.Time) *watchedConn {
	return &watchedConn{Conn: conn, now: now, opened: now()}
}

// silence is how long nothing was read.
func (c *watchedConn) silence() time.Duration {
	return c.now().Sub(c.opened) - time.Duration(c.lastRead.Load())
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.lastRead.Store(int64(c.now().Sub(c.opened)))
	}
	return n, err
}

// hijackRecorder puts the connection of an upgraded request under watch.
type hijackRecorder struct {
	http.ResponseWriter
	sessions *sessions
	node     string
	bootID   string
	log      *slog.Logger
	conn     *watchedConn // nil until the request was upgraded
	opened   time.Time
}

var errEarlyData = errors.New("the client sent data before the handshake was over")

func (h *hijackRecorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if buffered.Reader.Buffered() > 0 {
		conn.Close() //nolint:errcheck // the error below says more
		return nil, nil, errEarlyData
	}
	h.conn, h.opened = h.sessions.add(h.node, h.bootID, conn), time.Now()
	h.log.Info("tunnel opened")
	// The server's reader reads from the connection itself; websockets would go
	// on using it, past the watch.
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), buffered.Writer), nil
}

func (h *hijackRecorder) done() {
	if h.conn != nil {
		h.conn.Close() //nolint:errcheck // it is over
		h.sessions.remove(h.node, h.conn)
		h.log.Info("tunnel closed", "after", time.Since(h.opened).Round(time.Second))
	}
}
