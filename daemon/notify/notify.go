// SPDX-License-Identifier: Apache-2.0

// Package notify tells systemd how a service is doing.
//
// The kubelet and kube-apiserver notify systemd themselves, and too early: the
// one when it starts, the other when it listens. A Notifier therefore takes the
// socket out of the environment and is the only one to speak for the process.
package notify

import (
	"fmt"
	"os"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
)

const socketVariable = "NOTIFY_SOCKET"

// Notifier speaks to the service manager. Without one it does nothing.
type Notifier struct {
	mu     sync.Mutex
	socket string
}

// Take takes the notification socket out of this process's environment. Call
// it before any code that may notify by itself.
func Take() (*Notifier, error) {
	n := &Notifier{socket: os.Getenv(socketVariable)}
	if err := os.Unsetenv(socketVariable); err != nil {
		return nil, fmt.Errorf("unset %s: %w", socketVariable, err)
	}
	return n, nil
}

// Ready says that the service does what its users start it for.
func (n *Notifier) Ready() error { return n.send(daemon.SdNotifyReady) }

// Stopping says that the service shuts down.
func (n *Notifier) Stopping() error { return n.send(daemon.SdNotifyStopping) }

// Alive feeds systemd's watchdog.
func (n *Notifier) Alive() error { return n.send(daemon.SdNotifyWatchdog) }

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(line string) error { return n.send("STATUS=" + line) }

func (n *Notifier) send(state string) error {
	if n.socket == "" {
		return nil
	}
	// go-systemd finds the socket in the environment only; it is there no
	// longer than the call takes.
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := os.Setenv(socketVariable, n.socket); err != nil {
		return err
	}
	if _, err := daemon.SdNotify(true, state); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
