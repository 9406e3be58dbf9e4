// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	sshUser = "skerry" // the image's user with sudo
	sshPort = "22"
)

// RunError is a command that ran and failed.
type RunError struct {
	Machine, Command string
	Status           int // exit status
	Stdout, Stderr   string
}

func (e *RunError) Error() string {
	said := strings.TrimSpace(e.Stderr)
	if said == "" {
		said = strings.TrimSpace(e.Stdout)
	}
	return fmt.Sprintf("%s: %q exited with %d: %s", e.Machine, e.Command, e.Status, said)
}

// Run runs a shell command as the user of the machine, who has sudo, and returns its standard output. A command that fails returns a *RunError
// beside its output.
func (m *Machine) Run(ctx context.Context, command string) (string, error) {
	return m.RunInput(ctx, command, nil)
}

// RunInput is Run with something on the command's standard input.
func (m *Machine) RunInput(ctx context.Context, command string, input io.Reader) (string, error) {
	client, err := m.login(ctx)
	if err != nil {
		return "", err
	}
	session, err := client.NewSession()
	if err != nil {
		// The machine went away under an old connection: the next call logs in anew.
		m.hangUp(client)
		return "", fmt.Errorf("%s: open ssh session: %w", m.cfg.Name, err)
	}
	defer session.Close()
	var stdout, stderr bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = input, &stdout, &stderr

	// Cancelling closes the connection: closing the session alone waits for a machine that may no longer answer.
	stop := context.AfterFunc(ctx, func() { m.hangUp(client) })
	defer stop()
	err = session.Run(command)
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return stdout.String(), nil
	case errors.As(err, &exit):
		return stdout.String(), &RunError{
			Machine: m.cfg.Name, Command: command, Status: exit.ExitStatus(), Stdout: stdout.String(), Stderr: stderr.String(),
		}
	case ctx.Err() != nil:
		return stdout.String(), fmt.Errorf("%s: %q: %w", m.cfg.Name, command, ctx.Err())
	default:
		m.hangUp(client)
		return stdout.String(), fmt.Errorf("%s: %q: %w", m.cfg.Name, command, err)
	}
}

// Kubectl runs kubectl on a server, as its administrator would.
func (m *Machine) Kubectl(ctx context.Context, args ...string) (string, error) {
	return m.Run(ctx, "sudo kubectl "+shellQuote(args))
}

// Apply gives manifests to kubectl apply.
func (m *Machine) Apply(ctx context.Context, manifests string) error {
	_, err := m.RunInput(ctx, "sudo kubectl apply -f -", strings.NewReader(manifests))
	return err
}

// DialFrom connects to an address as seen from inside the machine, such as "127.0.0.1:8080".
func (m *Machine) DialFrom(ctx context.Context, network, address string) (net.Conn, error) {
	client, err := m.login(ctx)
	if err != nil {
		return nil, err
	}
	return client.DialContext(ctx, network, address)
}

// HostKey is the ssh host key that the machine last showed, as in known_hosts.
func (m *Machine) HostKey() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hostKey
}

// WaitSSH waits until the machine lets the lab's key in.
func (m *Machine) WaitSSH(ctx context.Context) error {
	return Wait(ctx, "an ssh login on "+m.cfg.Name, BootTimeout, func(ctx context.Context) error {
		_, err := m.Run(ctx, "true")
		if err == nil {
			return nil
		}
		if !m.Running() {
			return m.isOff()
		}
		return fmt.Errorf("%w; the console ends with %q", err, m.Console().Last().Text)
	})
}

func (m *Machine) login(ctx context.Context) (*ssh.Client, error) {
	m.mu.Lock()
	session, running := m.session, m.process != nil
	m.mu.Unlock()
	switch {
	case !running:
		return nil, fmt.Errorf("log in to %s: %w", m.cfg.Name, errOff)
	case session != nil:
		return session, nil
	}
	address := net.JoinHostPort(m.Address().String(), sshPort)
	conn, err := m.lab.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("log in to %s: %w", m.cfg.Name, err)
	}
	// The handshake knows no context: closing the connection ends it.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var shown string
	sshConn, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: cmp.Or(m.cfg.User, sshUser),
		Auth: []ssh.AuthMethod{ssh.PublicKeys(m.lab.key)},
		// Whose key it is needs no proof on a network of our own; that it stays the same is what scenarios look at.
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			shown = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
			return nil
		},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in to %s: %w", m.cfg.Name, err)
	}
	client := ssh.NewClient(sshConn, channels, requests)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session, m.hostKey = client, shown
	return client, nil
}

// hangUp forgets a connection that is of no use any more.
func (m *Machine) hangUp(client *ssh.Client) {
	client.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == client {
		m.session = nil
	}
}

func (m *Machine) hangUpLocked() {
	if m.session != nil {
		m.session.Close()
		m.session = nil
	}
}

func shellQuote(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
