// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
)

// qmp is the control connection of one QEMU process (QEMU Machine Protocol).
type qmp struct {
	conn    net.Conn
	replies chan qmpMessage
	closed  chan struct{}

	mu sync.Mutex // held for one command and its reply

	stateMu sync.Mutex
	// shutdown is why the guest stopped ("guest-reset", "guest-shutdown", "guest-panic"), once it has.
	shutdown string
}

type qmpMessage struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
	} `json:"data"`
}

// newQMP takes over conn. It must be called before the guest runs for long: events before the handshake are lost.
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, replies: make(chan qmpMessage, 1), closed: make(chan struct{})}
	go q.read()
	if _, err := q.execute(ctx, "qmp_capabilities", nil); err != nil {
		conn.Close()
		return nil, fmt.Errorf("QMP handshake: %w", err)
	}
	return q, nil
}

func (q *qmp) read() {
	defer close(q.closed)
	dec := json.NewDecoder(q.conn)
	for {
		var m qmpMessage
		if err := dec.Decode(&m); err != nil {
			return
		}
		switch {
		case m.Event == "SHUTDOWN":
			q.stateMu.Lock()
			q.shutdown = m.Data.Reason
			q.stateMu.Unlock()
		case m.Return != nil || m.Error != nil:
			q.replies <- m
		}
	}
}

// shutdownReason waits for the connection's end and returns why the guest stopped, "" if it did not do so itself.
func (q *qmp) shutdownReason() string {
	<-q.closed
	q.stateMu.Lock()
	defer q.stateMu.Unlock()
	return q.shutdown
}

func (q *qmp) execute(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, fmt.Errorf("QMP %s: %w", command, err)
	}
	select {
	case m := <-q.replies:
		if m.Error != nil {
			return nil, fmt.Errorf("QMP %s: %s", command, m.Error.Desc)
		}
		return m.Return, nil
	case <-q.closed:
		return nil, fmt.Errorf("QMP %s: QEMU has ended", command)
	case <-ctx.Done():
		// The reply may still come and would be taken for that of the next command.
		q.conn.Close()
		return nil, fmt.Errorf("QMP %s: %w", command, ctx.Err())
	}
}

// monitor runs a command of the human monitor, which reports errors as text.
func (q *qmp) monitor(ctx context.Context, line string) error {
	reply, err := q.execute(ctx, "human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return err
	}
	var text string
	if err := json.Unmarshal(reply, &text); err != nil {
		return fmt.Errorf("monitor %s: %w", line, err)
	}
	if text != "" {
		return fmt.Errorf("monitor %s: %s", line, text)
	}
	return nil
}
