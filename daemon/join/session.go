// SPDX-License-Identifier: Apache-2.0

package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/token"
)

const (
	// requestTimeout leaves time for hashing a password on a slow server that
	// fifty nodes ask at once.
	requestTimeout = 30 * time.Second
	dialTimeout    = 10 * time.Second
	// maxAnswer is many times a configuration or a certificate chain.
	maxAnswer = 1 << 20
)

// session talks to one server that is trusted.
type session struct {
	server    string
	token     token.Token
	user      string       // that the token is used as
	anonymous *http.Client // the server is trusted, and doesn't know us
	node      *http.Client // with this node's certificate; nil without
}

func (j *joiner) client(config *tls.Config) *http.Client {
	config.MinVersion = tls.VersionTLS12
	return &http.Client{
		Transport: &http.Transport{
			// No proxy: the server is in the node's own network, and the environment
			// of a machine names proxies for other purposes.
			DialContext:           j.Dial,
			TLSClientConfig:       config,
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: requestTimeout,
			ForceAttemptHTTP2:     true,
		},
		Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // credentials go nowhere else
		},
	}
}

func (s *session) close() {
	s.anonymous.CloseIdleConnections()
	if s.node != nil {
		s.node.CloseIdleConnections()
	}
}

// trust finds out which authority vouches for the server. A token with a hash
// names it. With a short one there is only the server's word, unless it has a
// certificate that the whole world trusts.
func (j *joiner) trust(ctx context.Context, t token.Token) (*session, error) {
	s := &session{server: j.Server, token: t, user: token.UserNode}
	if t.CAHash == "" {
		world := j.client(&tls.Config{})
		_, err := s.get(ctx, world, api.PathCACerts)
		if err == nil {
			s.anonymous = world
			return j.withCertificate(s, nil), nil // no authorities but the world's
		}
		world.CloseIdleConnections()
		if !errors.Is(err, ErrUntrusted) {
			return nil, err
		}
	}
	anyone := j.client(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // nothing secret is sent, and the answer is checked
	defer anyone.CloseIdleConnections()
	bundle, err := s.get(ctx, anyone, api.PathCACerts)
	if err != nil {
		return nil, err
	}
	ca, err := j.vouching(bundle, t)
	if err != nil {
		return nil, err
	}
	// The bundle proves nothing until the server shows a certificate of it.
	s.anonymous = j.client(ca.config())
	if _, err := s.get(ctx, s.anonymous, api.PathCACerts); err != nil {
		s.close()
		return nil, err
	}
	return j.withCertificate(s, ca), nil
}

// vouching returns who vouches for a server that has sent this bundle: the
// certificate that the token names, or any of the bundle.
func (j *joiner) vouching(bundle []byte, t token.Token) (*authorities, error) {
	if t.CAHash == "" {
		j.warnUnpinned()
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(bundle) {
			return nil, &kindError{ErrUntrusted, errors.New("it sent no CA certificate")}
		}
		return &authorities{roots: pool}, nil
	}
	pinned, others, err := token.Pinned(bundle, t.CAHash)
	if err != nil {
		return nil, &kindError{ErrCAHash, err}
	}
	ca := &authorities{roots: x509.NewCertPool(), chain: others}
	ca.roots.AddCert(pinned)
	return ca, nil
}

func (j *joiner) warnUnpinned() {
	if j.unpinned {
		return
	}
	j.unpinned = true
	j.Log.Warn("the token doesn't name the cluster's CA, so whoever answers is trusted; "+
		"the full token in the server's /var/lib/rancher/k3s/server/token does", "server", j.Server)
}

// withCertificate adds the certificate of an earlier start, if it is usable.
func (j *joiner) withCertificate(s *session, ca *authorities) *session {
	pair, err := tls.LoadX509KeyPair(j.files.ClientKubelet.Cert, j.files.ClientKubelet.Key)
	if err != nil || pair.Leaf == nil || !j.Clock.Now().Before(pair.Leaf.NotAfter) ||
		pair.Leaf.Subject.CommonName != api.NodeUserPrefix+j.NodeName {
		return s
	}
	config := ca.config()
	config.Certificates = []tls.Certificate{pair}
	s.node = j.client(config)
	return s
}

// authorities vouch for the servers of one cluster, by whatever address they are
// reached; nil are those that the whole world trusts, for the address.
type authorities struct {
	roots *x509.CertPool
	chain []*x509.Certificate // may lead to a root, but vouch for nobody
}

func (a *authorities) config() *tls.Config {
	if a == nil {
		return &tls.Config{}
	}
	return &tls.Config{
		ServerName: api.ServerName,
		// verify does it: a server need not send the certificates in between.
		InsecureSkipVerify: true, //nolint:gosec // the same
		VerifyConnection:   a.verify,
	}
}

func (a *authorities) verify(state tls.ConnectionState) error {
	intermediates := x509.NewCertPool()
	for _, cert := range append(slices.Clone(a.chain), state.PeerCertificates[1:]...) {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: intermediates, DNSName: api.ServerName,
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

func (s *session) get(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	return s.do(ctx, client, http.MethodGet, path, nil, nil)
}

// authenticated sends a request as this node: with its certificate, and once
// more with the token if the server doesn't know the node any more.
func (s *session) authenticated(ctx context.Context, method, path string, header http.Header, body []byte) ([]byte, error) {
	if s.node != nil {
		answer, err := s.do(ctx, s.node, method, path, header, body)
		if !errors.Is(err, ErrToken) {
			return answer, err
		}
		s.node.CloseIdleConnections()
		s.node = nil
	}
	if header = header.Clone(); header == nil {
		header = http.Header{}
	}
	if s.token.Bootstrap != "" {
		header.Set("Authorization", "Bearer "+s.token.Bootstrap)
	} else {
		// Whoever the token was made for, it is used by a node or a server here.
		r := http.Request{Header: header}
		r.SetBasicAuth(s.user, s.token.Password)
	}
	return s.do(ctx, s.anonymous, method, path, header, body)
}

func (s *session) do(ctx context.Context, client *http.Client, method, path string, header http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for key, values := range header {
		req.Header[key] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, networkError(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, networkError(err)
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	return nil, statusError(path, resp.StatusCode, answer)
}

// networkError tells a server that isn't there from one that isn't trusted, and
// leaves out what differs from attempt to attempt.
func networkError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return &kindError{ErrUntrusted, verification.Err}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		same := *op
		same.Source = nil // a new port each time
		err = &same
	}
	return &kindError{ErrUnreachable, err}
}

func statusError(path string, code int, body []byte) error {
	err := fmt.Errorf("%s: %d %s", path, code, http.StatusText(code))
	var status metav1.Status
	if json.Unmarshal(body, &status) == nil && status.Message != "" {
		err = fmt.Errorf("%s: %d %s", path, code, status.Message)
	}
	switch {
	case code == http.StatusConflict && status.Message != "":
		return &kindError{ErrDuplicate, errors.New(status.Message)}
	case code == http.StatusUnauthorized:
		return &kindError{ErrToken, err}
	case code == http.StatusForbidden && (path == api.PathServingKubelet || path == api.PathClientKubelet):
		return &kindError{ErrNodePassword, err}
	case code == http.StatusServiceUnavailable:
		return &kindError{ErrStarting, err}
	case code == http.StatusTooManyRequests:
		return &kindError{ErrBusy, err}
	}
	return err
}

func (s *session) config(ctx context.Context) (*api.Config, error) {
	data, err := s.authenticated(ctx, http.MethodGet, api.PathConfig, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch configuration: %w", err)
	}
	var config api.Config
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("read the server's configuration: %w", err)
	}
	return &config, nil
}
