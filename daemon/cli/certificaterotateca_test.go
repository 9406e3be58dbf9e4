// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

// controlPlane is a server directory, and a supervisor that takes authorities as the real one does.
type controlPlane struct {
	data, url string
	present   pki.Authorities
	taken     pki.Authorities // the last
	force     string
}

func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	c := &controlPlane{data: t.TempDir()}
	dir := filepath.Join(c.data, "server")
	bundle, err := pki.Ensure(dir, pki.Options{NodeName: "server-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Ensure(dir, token.Options{Token: "s3cret", CABundle: bundle.ServerCAPEM()}); err != nil {
		t.Fatal(err)
	}
	if c.present, err = pki.ReadAuthorities(filepath.Join(dir, "tls")); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if r.Method != http.MethodPut || r.URL.Path != "/v1-k3s/cert/cacerts" || user != "server" || password != "s3cret" {
			http.Error(w, "what?", http.StatusTeapot)
			return
		}
		c.force = r.URL.Query().Get("force")
		if err := json.NewDecoder(r.Body).Decode(&c.taken); err != nil {
			t.Error(err)
		}
		if _, err := c.present.Replace(c.taken, time.Now()); err != nil && c.force != "true" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"message":%q}`, err.Error())
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	server.TLS = &tls.Config{GetCertificate: bundle.GetCertificate}
	server.StartTLS()
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func TestCertificateRotateCA(t *testing.T) {
	c := newControlPlane(t)
	rotateCA := func(args ...string) (code int, stdout, stderr string) {
		c.taken = nil
		return run(append([]string{"certificate", "rotate-ca", "--data-dir", c.data, "--server", c.url}, args...)...)
	}
	own, k3s, none := t.TempDir(), t.TempDir(), t.TempDir()
	related, err := c.present.Successors(time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	unrelated, err := c.present.Successors(time.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	for dir, a := range map[string]pki.Authorities{filepath.Join(k3s, "tls"): related, own: unrelated} {
		if err := a.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	const stays, goes = "Tokens and kubeconfigs stay valid", "each agent whose token begins with K10"
	for _, tt := range []struct {
		args []string
		code int
		says string
		sent bool
	}{
		{[]string{"--generate"}, command.ExitOK, stays, true},
		{[]string{"--generate", "--new-root", "--force"}, command.ExitOK, goes, true},
		{[]string{"--path", k3s}, command.ExitOK, stays, true},
		{[]string{"--path", own, "--force"}, command.ExitOK, goes, true},
		{[]string{"--path", own}, command.ExitFailed, "it was not signed by", true},

		{[]string{"--path", none}, command.ExitFailed, "there is no server-ca.crt", false},
		{[]string{"--generate", "--new-root"}, command.ExitUsage, "add --force", false},
		{[]string{"--path", own, "--generate"}, command.ExitUsage, "either --generate", false},
		{[]string{"--path", own, "--new-root"}, command.ExitUsage, "--new-root is for --generate", false},
		{nil, command.ExitUsage, "either --generate", false},
		{[]string{"--generate", "--data-dir", none}, command.ExitFailed, "is this a server, and are you root?", false},
	} {
		code, stdout, stderr := rotateCA(tt.args...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.says) || (c.taken != nil) != tt.sent {
			t.Errorf("%v: exit code %d, sent = %t: %s%s", tt.args, code, c.taken != nil, stdout, stderr)
		}
	}
}
