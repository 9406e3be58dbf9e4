// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var fiftyAgents = Scenario{
	Name:   "fifty-agents",
	Suite:  SuiteAll,
	Shows:  "fifty agents that join one server in one moment all get in, and the server is Ready all the time",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const agents = 50
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		token, err := server.JoinToken(ctx)
		if err != nil {
			return err
		}
		nodeName := func(i int) string { return fmt.Sprintf("crowd-%d", i+1) }
		return t.Steps(
			step{fmt.Sprintf("%d agents join", agents), func() error {
				ctx, cancel := context.WithTimeout(ctx, vm.Scaled(5*time.Minute))
				defer cancel()
				began := time.Now()
				crowd := &crowd{server: server.URL(), token: token, dial: t.lab}
				errs := make([]error, agents)
				var joining sync.WaitGroup
				for i := range agents {
					joining.Go(func() {
						if err := crowd.join(ctx, nodeName(i), fmt.Sprintf("192.0.2.%d", i+1)); err != nil {
							errs[i] = fmt.Errorf("%s: %w", nodeName(i), err)
						}
					})
				}
				joining.Wait()
				t.Note("%.1fs; %d requests were told to come again", time.Since(began).Seconds(), crowd.again.Load())
				return errors.Join(errs...)
			}},
			step{"each has its Secret", func() error {
				for i := range agents {
					if _, err := cluster.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, passwordSecret(nodeName(i)), metav1.GetOptions{}); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"the server is Ready", func() error { return saysReady(ctx, server) }},
		)
	},
}

// crowd speaks what K3s' agents speak, as far as the certificates of a node.
type crowd struct {
	server string
	token  string
	dial   *vm.Lab
	again  atomic.Int64 // answers 429 and 503
}

func (c *crowd) join(ctx context.Context, name, address string) error {
	anyone := c.client(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the answer is compared with the token's hash
	bundle, err := c.ask(ctx, anyone, http.MethodGet, "/cacerts", nil, nil)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(bundle)
	if want := "K10" + hex.EncodeToString(hash[:]) + "::"; !strings.HasPrefix(c.token, want) {
		return errors.New("the CA isn't the one that the token was made by")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return errors.New("no CA")
	}
	known := c.client(&tls.Config{RootCAs: pool})
	if _, err := c.ask(ctx, known, http.MethodGet, "/v1-k3s/config", nil, nil); err != nil {
		return err
	}
	header := http.Header{}
	header.Set("k3s-Node-Name", name)
	header.Set("k3s-Node-Password", "password of "+name)
	header.Set("k3s-Node-IP", address)
	for path, header := range map[string]http.Header{
		"/v1-k3s/serving-kubelet.crt": header, "/v1-k3s/client-kubelet.crt": header,
		"/v1-k3s/client-kube-proxy.crt": nil, "/v1-k3s/client-k3s-controller.crt": nil,
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return err
		}
		answer, err := c.ask(ctx, known, http.MethodPost, path, header, csr)
		if err != nil {
			return err
		}
		if block, _ := pem.Decode(answer); block == nil {
			return fmt.Errorf("%s: no certificate", path)
		}
	}
	return nil
}

func (c *crowd) client(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.dial.Dial, TLSClientConfig: config, DisableKeepAlives: true}}
}

// ask asks again, after K3s' pause of 5 to 10 seconds, when it is told to.
func (c *crowd) ask(ctx context.Context, client *http.Client, method, path string, header http.Header, body []byte) ([]byte, error) {
	for {
		request, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if header != nil {
			request.Header = header.Clone()
		}
		if path != "/cacerts" { // nothing secret before the CA is known
			// Whoever the token was made for, an agent uses it as a node.
			_, secret, _ := strings.Cut(c.token, "::")
			_, password, _ := strings.Cut(secret, ":")
			request.SetBasicAuth("node", password)
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return nil, err
		}
		switch response.StatusCode {
		case http.StatusOK:
			return answer, nil
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			c.again.Add(1)
		default:
			return nil, fmt.Errorf("%s: %s: %s", path, response.Status, answer)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5*time.Second + mathrand.N(5*time.Second)): //nolint:gosec // jitter
		}
	}
}
