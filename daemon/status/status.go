// SPDX-License-Identifier: Apache-2.0

// Package status serves and reads the state of this machine on a local socket.
// The socket is root's only; nothing secret is in the state all the same. What
// else the daemon can be asked is answered on the same socket.
package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-os/skerry/daemon/extension"
	"github.com/skerry-os/skerry/daemon/loadbalancer"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/secureboot"
	"github.com/skerry-os/skerry/daemon/storage"
	"github.com/skerry-os/skerry/daemon/unit"
)

// Where processes answer.
const (
	Socket        = "/run/skerry/status.sock"  // the daemon: Machine
	NodeSocket    = "/run/skerry/node.sock"    // the node process: Node
	ControlSocket = "/run/skerry/control.sock" // the control plane's process: Control
)

// Machine is the state of this machine. Its JSON form is the contract of
// `skerry status -o json`.
type Machine struct {
	Version    string         `json:"version" yaml:"version"`
	Kubernetes string         `json:"kubernetes" yaml:"kubernetes"`
	Node       string         `json:"node,omitempty" yaml:"node,omitempty"`
	Address    string         `json:"address,omitempty" yaml:"address,omitempty"`
	Role       string         `json:"role,omitempty" yaml:"role,omitempty"`
	NoAgent    bool           `json:"noAgent,omitempty" yaml:"noAgent,omitempty"` // a server that runs no pods, and has no node
	Config     string         `json:"config,omitempty" yaml:"config,omitempty"`   // where it came from
	Ready      bool           `json:"ready" yaml:"ready"`                         // the node is Ready, or the API where there is none
	Phases     []phase.Report `json:"phases" yaml:"phases"`
	Units      []unit.Status  `json:"units,omitempty" yaml:"units,omitempty"`
	// Servers are how an agent reaches the servers of its cluster.
	Servers []loadbalancer.ServerStatus `json:"servers,omitempty" yaml:"servers,omitempty"`
	// Control is what a server's control plane says, if it answers.
	Control *Control `json:"control,omitempty" yaml:"control,omitempty"`
	// Certificates are those of the cluster on this machine.
	Certificates *Certificates `json:"certificates,omitempty" yaml:"certificates,omitempty"`
	// Trial is until when a configuration is on trial, unless it is confirmed.
	Trial time.Time `json:"trial,omitzero" yaml:"trial,omitempty"`
	// Reboot has the keys of the configuration that wait for a reboot.
	Reboot []string `json:"reboot,omitempty" yaml:"reboot,omitempty"`
	// Upgrade is what there is to tell of other versions of the system.
	Upgrade *Upgrade `json:"upgrade,omitempty" yaml:"upgrade,omitempty"`
	// SecureBoot is how the firmware stands to it: enabled, disabled, setup (it waits for certificates) or unsupported.
	SecureBoot secureboot.State `json:"secureBoot,omitempty" yaml:"secureBoot,omitempty"`
	// Storage is how STATE and DATA are, nil where they are not encrypted.
	Storage *storage.Status `json:"storage,omitempty" yaml:"storage,omitempty"`
	// Extensions are those of the cloud-config, and what else lies in the folders of systemd's for them.
	Extensions []extension.Status `json:"extensions,omitempty" yaml:"extensions,omitempty"`
	// Repairs are the file systems of the disk that this boot found damaged and has repaired, in a line each.
	Repairs []string `json:"repairs,omitempty" yaml:"repairs,omitempty"`
	// Problems are the lines to mend in the cloud-config, if it was refused.
	Problems []string `json:"problems,omitempty" yaml:"problems,omitempty"`
}

// Upgrade is how an upgrade stands, in a line each for people; `skerry upgrade status` knows all of it.
type Upgrade struct {
	Now  string `json:"now,omitempty" yaml:"now,omitempty"`   // what is under way
	Last string `json:"last,omitempty" yaml:"last,omitempty"` // how the last one ended, if that was not well
}

// Node is what the node process knows of itself.
type Node struct {
	Servers []loadbalancer.ServerStatus `json:"servers"`
}

// Route is something else that is answered on the socket, with the pattern of
// http.ServeMux that it answers to.
type Route struct {
	Pattern string
	Handler http.HandlerFunc
}

// Serve answers on socket with what current returns, and the routes, until ctx
// ends.
func Serve[T any](ctx context.Context, socket string, current func(context.Context) T, routes ...Route) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return fmt.Errorf("create directory of status socket: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale status socket: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen on status socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return fmt.Errorf("protect status socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// The client sees a cut connection; there is nobody else to tell.
		_ = json.NewEncoder(w).Encode(current(r.Context()))
	})
	for _, route := range routes {
		mux.HandleFunc(route.Pattern, route.Handler)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve status: %w", err)
	}
	return nil
}

// Client returns a client for the daemon that listens on socket, whatever the
// host of the URL.
func Client(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

// Get asks the process that listens on socket.
func Get[T any](ctx context.Context, socket string) (state T, err error) {
	client := Client(socket)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://skerry/status", nil)
	if err != nil {
		return state, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return state, fmt.Errorf("ask on %s: %w", socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return state, fmt.Errorf("ask on %s: %s", socket, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
		return state, fmt.Errorf("read the answer on %s: %w", socket, err)
	}
	return state, nil
}
