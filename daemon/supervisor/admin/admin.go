// SPDX-License-Identifier: Apache-2.0

// Package admin is what whoever has the server token asks a server's supervisor
// for, in K3s' wire format, and the client that asks.
//
// It must not link Kubernetes.
package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

// Paths, all for the user server of a token, and for PUT unless it says otherwise.
const (
	// PathAuthorities takes pki.Authorities as JSON; the query force=true replaces
	// authorities by unrelated ones.
	PathAuthorities = "/v1-k3s/cert/cacerts"
	QueryForce      = "force"
	// PathToken takes a TokenRequest.
	PathToken = "/v1-k3s/token"
	// PathSnapshot takes, by POST, a SnapshotRequest. What it answers are snapshots as package snapshot lists them.
	PathSnapshot = "/db/snapshot"
	// PathEncryptionStatus answers a GET with an EncryptionStatus.
	PathEncryptionStatus = "/v1-k3s/encrypt/status"
	// PathEncryption takes an EncryptionRequest.
	PathEncryption = "/v1-k3s/encrypt/config"
)

// OperationSave is the only operation of a SnapshotRequest that needs the server: it has the datastore open.
const OperationSave = "save"

// SnapshotRequest asks for a snapshot of the datastore.
type SnapshotRequest struct {
	Operation string `json:"operation"`
	// Name is the first part of the snapshot's, alone in the list.
	Name []string `json:"name"`
}

// TokenRequest asks for another server token.
type TokenRequest struct {
	// NewToken is of either form; the server makes one where there is none.
	NewToken string `json:"newToken"`
}

// Stages that an EncryptionRequest may ask for.
const (
	StageRotateKeys = "rotate_keys"
	StageReencrypt  = "reencrypt_request"
)

// EncryptionRequest asks for a change of how Secrets are kept, by one of its fields.
type EncryptionRequest struct {
	Stage  *string `json:"stage,omitempty"`
	Enable *bool   `json:"enable,omitempty"`
}

// EncryptionStatus is how Secrets are kept in the datastore. The first fields are K3s'.
type EncryptionStatus struct {
	Stage     string `json:"stage" yaml:"stage"`
	ActiveKey string `json:"activekey" yaml:"activekey"`
	// Enable is whether new Secrets are encrypted.
	Enable *bool `json:"enable,omitempty" yaml:"enable,omitempty"`
	// HashMatch is whether all servers use the same keys, as far as is known; HashError tells which don't.
	HashMatch    bool     `json:"hashmatch" yaml:"hashmatch"`
	HashError    string   `json:"hasherror,omitempty" yaml:"hasherror,omitempty"`
	InactiveKeys []string `json:"inactivekeys,omitempty" yaml:"inactivekeys,omitempty"`
	// Provider is of the active key: secretbox or aescbc.
	Provider string `json:"provider,omitempty" yaml:"provider,omitempty"`
	// Finished is whether no change is under way.
	Finished bool `json:"finished" yaml:"finished"`
	// Done of Total Secrets are written as the active key has it, while they are written anew; Problem is why one isn't.
	Done    int    `json:"done,omitempty" yaml:"done,omitempty"`
	Total   int    `json:"total,omitempty" yaml:"total,omitempty"`
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

// DefaultServer is this machine's own supervisor.
const DefaultServer = "https://127.0.0.1:6443"

const (
	// requestTimeout of PUT leaves a slow disk time.
	requestTimeout = time.Minute
	// maxAnswer is many times an error's text.
	maxAnswer = 64 << 10
)

// Client asks one server, with the token of that same machine.
type Client struct {
	server, password string
	http             *http.Client
}

// NewClient returns a client for the supervisor at a URL. dir is its server
// directory (K3s' /var/lib/rancher/k3s/server), which has the token and the
// authority to check it by.
func NewClient(server, dir string) (*Client, error) {
	data, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, fmt.Errorf("read this server's token: %w", err)
	}
	t, err := token.Parse(string(data))
	if err != nil {
		return nil, fmt.Errorf("read this server's token: %w", err)
	}
	file := filepath.Join(dir, "tls", "server-ca.crt")
	bundle, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read this server's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, fmt.Errorf("read this server's authority: no certificate in %s", file)
	}
	return &Client{
		server:   strings.TrimRight(server, "/"),
		password: t.Password,
		http: &http.Client{
			// No proxy: the server is this machine.
			Transport: &http.Transport{TLSClientConfig: &tls.Config{
				RootCAs: roots, ServerName: pki.ServerName, MinVersion: tls.VersionTLS12,
			}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Put sends v as JSON to a path, which may have a query. The error of a server
// that refuses is what it says.
func (c *Client) Put(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return c.send(ctx, http.MethodPut, path, v, nil)
}

// Post sends v as JSON to a path, and reads the answer, JSON as well, into
// answer. It takes as long as ctx lets it.
func (c *Client) Post(ctx context.Context, path string, v, answer any) error {
	return c.send(ctx, http.MethodPost, path, v, answer)
}

func (c *Client) send(ctx context.Context, method, path string, v, answer any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.do(ctx, method, path, bytes.NewReader(body), answer)
}

// Get reads the JSON at a path into answer.
func (c *Client) Get(ctx context.Context, path string, answer any) error {
	return c.do(ctx, http.MethodGet, path, nil, answer)
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.server, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(token.UserServer, c.password)
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the server, which must run: %w", err)
	}
	defer c.http.CloseIdleConnections()
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 && answer == nil {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if resp.StatusCode/100 == 2 {
		if err := json.Unmarshal(data, answer); err != nil {
			return fmt.Errorf("read the answer of %s: %w", c.server, err)
		}
		return nil
	}
	var status struct{ Message string }
	if json.Unmarshal(data, &status) != nil || status.Message == "" {
		status.Message = resp.Status
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("%s refused this machine's server token; is it another cluster's server that answers there?", c.server)
	}
	return errors.New(status.Message)
}
