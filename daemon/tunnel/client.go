// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// retryInterval is K3s' pause between attempts; up to a fifth is added to it, so
// that the agents of a restarted server don't all come back in one instant.
const retryInterval = 3 * time.Second

// pingInterval is how often a server is asked for a sign of life. Remotedialer's
// own pings, each 5 s, are too few for a load balancer.
const pingInterval = time.Second

// ClientOptions say which server to keep a tunnel to, and as whom.
type ClientOptions struct {
	ServerURL string
	// CertFile and KeyFile are the kubelet's client certificate, CAFile the
	// server's authority. They are read for every attempt, since they are renewed.
	CertFile, KeyFile, CAFile string
	// BootID tells this machine from a copy of it; empty for none.
	BootID string
	// Rules say what this node dials for the server.
	Rules *Rules
	// DialContext reaches the server; a plain dialer when nil.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Patience says how long the server may be silent before the tunnel counts as
	// broken; staleAfter when nil. It is asked each time.
	Patience func() time.Duration
	// State, if set, is told when the tunnel comes up and goes down.
	State func(up bool)
	Log   *slog.Logger
	// RetryInterval is retryInterval when zero.
	RetryInterval time.Duration
}

// Run keeps one tunnel to one server until ctx ends, then returns nil, or until the
// server says that another machine is this node (ErrDuplicate). An agent with several servers runs it once for each. What goes wrong is logged when the
// tunnel goes down, not at each attempt to bring it up again.
func Run(ctx context.Context, opts ClientOptions) error {
	endpoint, err := connectURL(opts.ServerURL)
	if err != nil {
		return err
	}
	if opts.RetryInterval == 0 {
		opts.RetryInterval = retryInterval
	}
	if opts.State == nil {
		opts.State = func(bool) {}
	}
	if opts.Patience == nil {
		opts.Patience = func() time.Duration { return staleAfter }
	}
	if opts.DialContext == nil {
		opts.DialContext = new(net.Dialer).DialContext
	}
	c := &client{ClientOptions: opts, endpoint: endpoint}
	for {
		err := c.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.setDown(err)
		if errors.Is(err, ErrDuplicate) {
			return err
		}
		pause := opts.RetryInterval + time.Duration(rand.Float64()*float64(opts.RetryInterval)/5) //nolint:gosec // jitter
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func connectURL(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("tunnel to %q: not an https URL", server)
	}
	return "wss://" + u.Host + api.PathConnect, nil
}

// client is one tunnel's state machine:
//
//	unknown --connected--> up --lost--> down --connected--> up
//	unknown --failed-----> down
type client struct {
	ClientOptions
	endpoint string
	state    state
}

type state int

const (
	stateUnknown state = 0
	stateUp      state = 1
	stateDown    state = 2
)

func (c *client) setUp() {
	c.state = stateUp
	c.Log.Info("tunnel is up", "server", c.ServerURL)
	c.State(true)
}

func (c *client) setDown(cause error) {
	if c.state == stateDown {
		return
	}
	c.state = stateDown
	c.Log.Warn("tunnel is down; trying again until it is up", "server", c.ServerURL, "every", c.RetryInterval, "error", cause)
	c.State(false)
}

// connect opens the tunnel and serves it until it breaks; it always returns an
// error.
func (c *client) connect(ctx context.Context) error {
	config, err := c.tlsConfig()
	if err != nil {
		return err
	}
	var watched *watchedConn
	dialer := websocket.Dialer{
		TLSClientConfig:  config,
		HandshakeTimeout: remotedialer.HandshakeTimeOut,
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := c.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			watched = watch(conn, time.Now)
			return watched, nil
		},
	}
	header := http.Header{}
	if c.BootID != "" {
		header.Set(api.HeaderBootID, c.BootID)
	}
	ws, resp, err := dialer.DialContext(ctx, c.endpoint, header)
	if err != nil {
		return handshakeError(err, resp)
	}
	defer ws.Close()
	stop := context.AfterFunc(ctx, func() { ws.Close() }) // ends Serve
	defer stop()

	// Remotedialer ends the whole tunnel when its authorizer says no. Refusing in
	// the dialer fails only the one connection.
	session := remotedialer.NewClientSessionWithDialer(func(string, string) bool { return true }, ws, c.dialLocal)
	defer session.Close()
	c.setUp()
	// Serve's context ends its pings, which Close waits for.
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := make(chan error, 1)
	go func() { silent <- c.listen(serving, ws, watched) }()
	_, err = session.Serve(serving)
	cancel()
	if silence := <-silent; silence != nil {
		return silence
	}
	return err
}

// listen asks the server for a sign of life each second, and ends the tunnel
// when there is none: a server that was stopped, or whose power was cut, closes
// nothing. It returns nil when ctx ends.
func (c *client) listen(ctx context.Context, ws *websocket.Conn, conn *watchedConn) error {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		patience := c.Patience()
		if silence := conn.silence(); silence > patience {
			ws.Close()
			return fmt.Errorf("the server has been silent for %s", silence.Round(time.Second/10))
		}
		// One that can't be written is noticed by the silence after it.
		_ = ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience))
	}
}

// handshakeError adds the server's answer, if there was one.
func handshakeError(err error, resp *http.Response) error {
	if resp == nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if resp.StatusCode == http.StatusConflict {
		return fmt.Errorf("%w: %s", ErrDuplicate, strings.TrimSpace(string(body)))
	}
	if text := strings.TrimSpace(string(body)); text != "" {
		return fmt.Errorf("server answered %s: %s", resp.Status, text)
	}
	return fmt.Errorf("server answered %s", resp.Status)
}

func (c *client) tlsConfig() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load client certificate: %w", err)
	}
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("load server CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("load server CA: no certificate in " + c.CAFile)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: api.ServerName,
	}, nil
}

// dialLocal dials for the server what the rules allow.
func (c *client) dialLocal(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" || !c.Rules.Allows(address) {
		c.Log.Warn("server asked for an address that this node doesn't dial for it",
			"server", c.ServerURL, "address", address, "egress-selector-mode", c.Rules.mode)
		return nil, fmt.Errorf("%s: %w", address, ErrNotAllowed)
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, network, address)
}
