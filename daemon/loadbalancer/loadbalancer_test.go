// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const registration = "https://registration.example.org:6443"

// network is servers that answer each line with their name and the line. A
// server may be missing, which refuses connections, or silent.
type network struct {
	mu      sync.Mutex
	servers map[string]*peer
	silent  map[string]bool
	mute    map[string]bool // ends connections when something is said
}

type peer struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newNetwork(t *testing.T, addresses ...string) *network {
	n := &network{servers: map[string]*peer{}, silent: map[string]bool{}, mute: map[string]bool{}}
	for _, address := range addresses {
		n.start(t, address)
	}
	t.Cleanup(func() {
		for _, address := range addresses {
			n.stop(address)
		}
	})
	return n
}

func (n *network) start(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: listener}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			go func() {
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					if n.isMute(address) {
						break
					}
					fmt.Fprintf(c, "%s %s\n", address, lines.Text())
				}
				c.Close()
			}()
		}
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[address] = p
}

// stop ends a server and its connections, as the end of its process does.
func (n *network) stop(address string) {
	n.mu.Lock()
	p := n.servers[address]
	delete(n.servers, address)
	n.mu.Unlock()
	if p == nil {
		return
	}
	p.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

func (n *network) setMute(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute[address] = true
}

func (n *network) isMute(address string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mute[address]
}

func (n *network) setSilent(address string, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[address] = silent
}

func (n *network) dial(ctx context.Context, address string, _ time.Duration) (net.Conn, error) {
	n.mu.Lock()
	p, silent := n.servers[address], n.silent[address]
	n.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if p == nil {
		return nil, errors.New(address + " refused")
	}
	return new(net.Dialer).DialContext(ctx, "tcp", p.Addr().String())
}

// balancer is one with a clock that tests move.
type balancer struct {
	*Balancer
	addr string
	now  time.Time
}

func (n *network) balancer(t *testing.T, stateFile string) *balancer {
	t.Helper()
	if stateFile == "" {
		stateFile = filepath.Join(t.TempDir(), "etc", "k3s-agent-load-balancer.json")
	}
	b := &balancer{now: time.Unix(1000, 0)}
	var err error
	b.Balancer, err = New(Options{
		ServerURL: registration, StateFile: stateFile, Seed: "agent-1", Log: slog.New(slog.DiscardHandler),
		Dial: n.dial, Now: func() time.Time { return b.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	return b
}

// after moves the clock and lets the balancer look at it.
func (b *balancer) after(d time.Duration) {
	b.mu.Lock()
	b.now = b.now.Add(d)
	b.mu.Unlock()
	b.check()
}

func (b *balancer) state(address string) State {
	for _, s := range b.Status() {
		if s.Address == address {
			return s.State
		}
	}
	return Invalid
}

func (b *balancer) expect(t *testing.T, when string, want map[string]State) {
	t.Helper()
	for address, state := range want {
		if got := b.state(address); got != state {
			t.Errorf("%s: %s is %s, want %s", when, address, got, state)
		}
	}
}

// client is a connection through the balancer.
type client struct {
	net.Conn
	lines *bufio.Reader
}

func (b *balancer) connect(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

// server asks which server is at the other end; it is empty if there is none.
func (c *client) server(t *testing.T) string {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(c, "hello"); err != nil {
		return ""
	}
	line, err := c.lines.ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("there was no answer")
	}
	name, _, _ := strings.Cut(line, " ")
	return name
}

const (
	fixed   = "registration.example.org:6443"
	serverA = "192.0.2.1:6443"
	serverB = "192.0.2.2:6443"
	serverC = "192.0.2.3:6443"
)

// The address a node registers at may disappear once the servers are known.
func TestRegistrationAddress(t *testing.T) {
	n := newNetwork(t, fixed, serverA)
	b := n.balancer(t, "")
	first := b.connect(t)
	if got := first.server(t); got != fixed {
		t.Fatalf("connected to %q, want the registration address", got)
	}
	b.expect(t, "registered", map[string]State{fixed: Recovering})
	b.SetHealth(fixed, true)

	b.SetServers([]string{serverA})
	b.expect(t, "servers known", map[string]State{fixed: Standby, serverA: Unchecked})
	if got := first.server(t); got != fixed {
		t.Errorf("the connection was ended before another server was known to answer")
	}
	b.SetHealth(serverA, true) // and the check of the same moment may have come
	b.after(time.Second)
	b.expect(t, "tunnel is up", map[string]State{fixed: Standby, serverA: Preferred})
	b.after(settleAfter)
	if got := first.server(t); got != "" {
		t.Errorf("the registration address still serves a connection")
	}
	n.stop(fixed)
	if got := b.connect(t).server(t); got != serverA {
		t.Errorf("connected to %q, want %s", got, serverA)
	}
	b.expect(t, "in use", map[string]State{fixed: Standby, serverA: Active})
	if got := b.Addresses(); !slices.Equal(got, []string{serverA}) {
		t.Errorf("tunnels go to %v", got)
	}

	// The only server refuses: the registration address is tried as well.
	n.start(t, fixed)
	n.stop(serverA)
	b.SetHealth(serverA, false)
	b.expect(t, "gone", map[string]State{fixed: Standby, serverA: Failed})
	if got := b.connect(t).server(t); got != fixed {
		t.Errorf("connected to %q, want the registration address", got)
	}
}

// A registration address that is gone stays failed, though its tunnel was up
// until the servers were known.
func TestRegistrationAddressStaysFailed(t *testing.T) {
	n := newNetwork(t)
	b := n.balancer(t, "")
	b.SetHealth(fixed, true)
	b.SetServers([]string{serverA})
	if got := b.connect(t).server(t); got != "" {
		t.Fatalf("connected to %q", got)
	}
	b.after(time.Second)
	b.expect(t, "gone", map[string]State{fixed: Failed, serverA: Failed})
	for _, s := range b.Status() {
		if s.Tunnel {
			t.Errorf("%s is said to have a tunnel", s.Address)
		}
	}
}

// A server that is removed while it is dialed gets no connection that nobody
// would end.
func TestRemovedWhileDialed(t *testing.T) {
	n := newNetwork(t, serverA)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA})
	dial := b.Dial
	b.Dial = func(ctx context.Context, address string, patience time.Duration) (net.Conn, error) {
		c, err := dial(ctx, address, patience)
		b.SetServers([]string{serverB})
		return c, err
	}
	if _, err := b.DialContext(t.Context(), "", ""); err == nil || !strings.Contains(err.Error(), "removed while it was dialed") {
		t.Errorf("the error is %v", err)
	}
}

// A server that is killed is left at once, for new connections and old ones.
func TestFailover(t *testing.T) {
	n := newNetwork(t, serverA, serverB, serverC)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA, serverB, serverC})
	all := []string{serverA, serverB, serverC}
	for _, address := range all {
		b.SetHealth(address, true)
	}
	b.after(time.Second)

	for range 3 {
		watch := b.connect(t)
		active := watch.server(t)
		if b.state(active) != Active {
			t.Fatalf("%s, which is connected to, is %s", active, b.state(active))
		}
		// Its tunnel is the first to notice; it goes down.
		n.setSilent(active, true)
		b.SetHealth(active, false)
		if got := watch.server(t); got != "" {
			t.Errorf("a connection to %s outlived it", active)
		}
		started := time.Now()
		next := b.connect(t).server(t)
		if next == active || next == "" || next == fixed {
			t.Errorf("connected to %q after %s was lost", next, active)
		}
		if took := time.Since(started); took > time.Second {
			t.Errorf("a new connection took %s", took)
		}
		n.setSilent(active, false)
		b.SetHealth(active, true)
		b.after(time.Second)
		b.expect(t, "back again", map[string]State{active: Preferred, next: Active})
	}
}

// Nobody has noticed yet that a server is gone: a new connection finds out.
func TestSilentServer(t *testing.T) {
	n := newNetwork(t, serverA, serverB)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA, serverB})
	b.SetHealth(serverA, true)
	b.SetHealth(serverB, true)
	b.after(time.Second)
	first, second := b.connect(t), b.connect(t)
	active := first.server(t)
	if got := second.server(t); got != active {
		t.Fatalf("connections go to %s and %s", active, got)
	}
	n.setSilent(active, true)
	started := time.Now()
	third := b.connect(t)
	other := third.server(t)
	if took := time.Since(started); other == active || other == "" || took > time.Second {
		t.Errorf("after %s it is connected to %q", took, other)
	}
	// It may have been one lost packet: the old connections stay where they are.
	b.after(time.Second)
	b.expect(t, "one silent dial", map[string]State{active: Active, other: Preferred})
	if got := first.server(t); got != active {
		t.Errorf("the old connection was ended")
	}
	// It was the server.
	b.SetHealth(active, false)
	b.after(time.Second)
	b.expect(t, "tunnel down", map[string]State{active: Failed, other: Active})
	if got := third.server(t); got != other {
		t.Errorf("the new connection was ended")
	}
}

// What one client reads comes from one server: once the better one is known to
// be well, connections to others end.
func TestSettles(t *testing.T) {
	n := newNetwork(t, serverA, serverB)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA, serverB})
	b.SetHealth(serverA, true)
	b.SetHealth(serverB, true)
	b.after(time.Second)
	first, second := b.connect(t), b.connect(t)
	active := first.server(t)
	second.server(t)
	n.setSilent(active, true)
	stray := b.connect(t)
	if got := stray.server(t); got == active {
		t.Fatal("a silent server has answered")
	}
	n.setSilent(active, false)
	b.after(settleAfter)
	if got := stray.server(t); got != "" {
		t.Errorf("a connection stays at %s, though %s is well", got, active)
	}
	if got := first.server(t); got != active {
		t.Errorf("the connection to %s was ended", active)
	}
}

func TestAllDownAndBack(t *testing.T) {
	n := newNetwork(t, serverA, serverB)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA, serverB})
	b.SetHealth(serverA, true)
	b.SetHealth(serverB, true)
	b.after(time.Second)
	b.connect(t).server(t)
	for _, address := range []string{serverA, serverB} {
		n.stop(address)
		b.SetHealth(address, false)
	}
	if got := b.connect(t).server(t); got != "" {
		t.Errorf("%q answers", got)
	}
	_, err := b.DialContext(t.Context(), "", "")
	if err == nil || !strings.Contains(err.Error(), "all servers failed") || !strings.Contains(err.Error(), serverB+" refused") {
		t.Errorf("the error is %v", err)
	}
	b.expect(t, "all down", map[string]State{serverA: Failed, serverB: Failed, fixed: Failed})
	n.start(t, serverB)
	if got := b.connect(t).server(t); got != serverB {
		t.Errorf("connected to %q, want %s", got, serverB)
	}
	n.start(t, serverA)
	b.SetHealth(serverA, true)
	b.SetHealth(serverB, true)
	b.after(time.Second)
	b.expect(t, "back", map[string]State{serverA: Preferred, serverB: Active})
}

// What stands before the servers accepts connections though none of them is there, and ends them again: it must not keep
// an agent from trying the servers themselves.
func TestMuteRegistrationAddress(t *testing.T) {
	n := newNetwork(t, fixed, serverA)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA, serverB})
	n.stop(serverA)
	n.setMute(fixed)
	if got := b.connect(t).server(t); got != "" {
		t.Fatalf("%q answers", got)
	}
	b.expect(t, "nobody is there", map[string]State{fixed: Failed, serverA: Failed, serverB: Failed})
	n.start(t, serverA)
	if got := b.connect(t).server(t); got != serverA {
		t.Errorf("connected to %q, want %s", got, serverA)
	}
	b.expect(t, "one is back", map[string]State{fixed: Failed, serverA: Recovering, serverB: Failed})
}

// Servers that are stopped in order leave the list, the last but for itself: whichever is back first is found, by an agent
// that was started anew meanwhile too.
func TestFormerServers(t *testing.T) {
	n := newNetwork(t, serverA, serverB, serverC)
	t.Cleanup(func() { n.stop(fixed) })
	file := filepath.Join(t.TempDir(), "state.json")
	b := n.balancer(t, file)
	b.SetServers([]string{serverA, serverB, serverC})
	b.SetServers([]string{serverB, serverC})
	b.SetServers([]string{serverC})
	if got := b.connect(t).server(t); got != serverC {
		t.Errorf("connected to %q, want %s", got, serverC)
	}
	n.stop(serverC)
	n.stop(serverB)
	n.start(t, fixed)
	n.setMute(fixed)
	for name, b := range map[string]*balancer{"the same": b, "started anew": n.balancer(t, file)} {
		b.SetHealth(serverC, false)
		if got := b.connect(t).server(t); got != "" {
			t.Errorf("%s: connected to %q, which is mute", name, got)
		}
		if got := b.connect(t).server(t); got != serverA {
			t.Errorf("%s: connected to %q, want %s", name, got, serverA)
		}
		b.expect(t, name, map[string]State{serverC: Failed, serverA: Invalid})
		b.SetServers([]string{serverA})
		if got := b.connect(t).server(t); got != serverA {
			t.Errorf("%s: connected to %q, want %s", name, got, serverA)
		}
		b.expect(t, name+", listed again", map[string]State{serverA: Recovering})
	}
}

// Servers are replaced one by one, until none of the first is left.
func TestReplaced(t *testing.T) {
	n := newNetwork(t, serverA, serverB)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA})
	watch := b.connect(t)
	if got := watch.server(t); got != serverA {
		t.Fatalf("connected to %q", got)
	}
	b.SetServers([]string{serverA, serverB})
	b.SetServers([]string{serverB})
	if got := watch.server(t); got != "" {
		t.Errorf("a connection to a removed server stays")
	}
	if got := b.connect(t).server(t); got != serverB {
		t.Errorf("connected to %q, want %s", got, serverB)
	}
	b.expect(t, "replaced", map[string]State{serverA: Invalid, serverB: Recovering})
	// A list without any is a mistake of whoever made it.
	b.SetServers(nil)
	b.expect(t, "empty list", map[string]State{serverB: Recovering})
	b.SetHealth(serverA, false) // its tunnel ends late
	b.expect(t, "late news", map[string]State{serverA: Invalid})
}

func TestPreferredRests(t *testing.T) {
	n := newNetwork(t, serverA)
	b := n.balancer(t, "")
	b.SetServers([]string{serverA})
	b.SetHealth(serverA, true)
	b.after(time.Second)
	b.after(restAfter - time.Second)
	b.expect(t, "almost a minute", map[string]State{serverA: Preferred})
	b.after(time.Second)
	b.expect(t, "a minute", map[string]State{serverA: Healthy})
}

func TestStateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "etc", "k3s-agent-load-balancer.json")
	n := newNetwork(t, serverA, fixed)
	n.balancer(t, file).SetServers([]string{serverA, serverB})
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "ServerURL": "https://registration.example.org:6443",
  "ServerAddresses": [
    "192.0.2.1:6443",
    "192.0.2.2:6443"
  ]
}
`
	if string(data) != want {
		t.Errorf("the file is\n%swant\n%s", data, want)
	}
	for _, tt := range []struct {
		name, content string
		want          []string
	}{
		{"ours", want, []string{serverA, serverB}},
		{"K3s'", `{"ServerURL":"https://registration.example.org:6443","ServerAddresses":["192.0.2.3:6443"]}`, []string{serverC}},
		{"of another cluster", `{"ServerURL":"https://old.example.org:6443","ServerAddresses":["192.0.2.3:6443"]}`, []string{fixed}},
		{"damaged", want[:40], []string{fixed}},
		{"empty", "", []string{fixed}},
		{"without servers", `{"ServerURL":"https://registration.example.org:6443","ServerAddresses":[]}`, []string{fixed}},
	} {
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		b := n.balancer(t, file)
		if got := b.Addresses(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: knows %v, want %v", tt.name, got, tt.want)
		}
		// Whatever it says, a server is found.
		if got := b.connect(t).server(t); got == "" {
			t.Errorf("%s: no server is found", tt.name)
		}
	}
}

// Half of the nodes begin with one server, half with the other.
func TestNodesSpread(t *testing.T) {
	first := map[string]int{}
	for i := range 100 {
		b, err := New(Options{ServerURL: registration, StateFile: filepath.Join(t.TempDir(), "state"),
			Seed: fmt.Sprintf("agent-%d", i), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		b.SetServers([]string{serverA, serverB})
		first[b.Status()[0].Address]++
	}
	if first[serverA] < 30 || first[serverB] < 30 || first[serverA]+first[serverB] != 100 {
		t.Errorf("nodes begin with %v", first)
	}
}

// One side may be done with talking and still listen.
func TestHalfClose(t *testing.T) {
	n := newNetwork(t, fixed)
	c := n.balancer(t, "").connect(t)
	if _, err := io.WriteString(c, "last words\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c.lines)
	if err != nil || string(answer) != fixed+" last words\n" {
		t.Errorf("answer %q, %v", answer, err)
	}
}

// TestDialed: each attempt counts, but for those that nobody waited for.
func TestDialed(t *testing.T) {
	n := newNetwork(t, "b:6443")
	n.setSilent("a:6443", true)
	b := n.balancer(t, "")
	var mu sync.Mutex
	var ended []string
	told := make(chan struct{}, 10)
	b.Dialed = func(took time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		if took <= 0 {
			t.Errorf("it took %s", took)
		}
		ended = append(ended, fmt.Sprint(err))
		told <- struct{}{}
	}
	b.SetServers([]string{"a:6443", "b:6443"})
	for _, address := range []string{"", ""} {
		conn, err := b.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		<-told
	}
	n.stop("b:6443")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-told // of b and the registration address; a is still silent
		<-told
		cancel()
	}()
	if _, err := b.DialContext(ctx, "tcp", ""); err == nil {
		t.Error("connected to nobody")
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(ended)
	if got := strings.Join(ended, ", "); got != "<nil>, <nil>, b:6443 refused, registration.example.org:6443 refused" {
		t.Errorf("ended: %s", got)
	}
}

func TestRefusesURL(t *testing.T) {
	for _, bad := range []string{"", "server-1:6443", "https://", ":"} {
		if _, err := New(Options{ServerURL: bad, Log: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%q is taken for a URL", bad)
		}
	}
}

// The kernel ends a connection whose other end is gone without a word.
func TestDialServer(t *testing.T) {
	n := newNetwork(t, serverA)
	c, err := dialServer(t.Context(), n.servers[serverA].Addr().String(), shortPatience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, "hello")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != serverA+" hello\n" {
		t.Errorf("answer %q, %v", line, err)
	}
}
