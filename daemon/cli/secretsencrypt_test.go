// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

// encryptionServer answers as a supervisor whose change goes one step further each time it is asked.
func encryptionServer(t *testing.T, statuses ...string) (data, url string, asked *string) {
	t.Helper()
	data, asked = t.TempDir(), new(string)
	bundle, err := pki.Ensure(filepath.Join(data, "server"), pki.Options{NodeName: "server-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Ensure(filepath.Join(data, "server"), token.Options{Token: "s3cret", CABundle: bundle.ServerCAPEM()}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "PUT /v1-k3s/encrypt/config":
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			*asked = string(body)
			w.WriteHeader(http.StatusNoContent)
		case "GET /v1-k3s/encrypt/status":
			fmt.Fprint(w, statuses[0])
			statuses = statuses[min(1, len(statuses)-1):]
		default:
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
	}))
	server.TLS = &tls.Config{GetCertificate: bundle.GetCertificate}
	server.StartTLS()
	t.Cleanup(server.Close)
	return data, server.URL, asked
}

const finishedStatus = `{"stage":"reencrypt_finished","activekey":"key2","enable":true,"hashmatch":true,"provider":"secretbox","finished":true}`

func TestSecretsEncryptStatus(t *testing.T) {
	data, url, _ := encryptionServer(t, `{"stage":"prepare","activekey":"key1","enable":true,"hasherror":"these servers have not taken up the keys yet: server-2",
		"inactivekeys":["key2"],"provider":"secretbox"}`, finishedStatus)
	args := []string{"secrets-encrypt", "status", "--server", url, "--data-dir", data}
	code, out, errs := run(args...)
	for _, want := range []string{"Encrypted   yes, new ones by secretbox", "key1", "Reads only  key2", "prepare: these servers", "server-2"} {
		if !strings.Contains(out, want) {
			t.Errorf("%d: %q isn't in %s%s", code, want, out, errs)
		}
	}
	code, out, _ = run(append(args, "-o", "json")...)
	var status map[string]any
	if err := json.Unmarshal([]byte(out), &status); err != nil || code != 0 || status["stage"] != "reencrypt_finished" || status["hashmatch"] != true {
		t.Errorf("%d: %s", code, out)
	}
	if code, out, _ = run(append(args, "-o", "yaml")...); code != 0 || !strings.Contains(out, "activekey: key2\n") {
		t.Errorf("%d: %s", code, out)
	}
}

func TestSecretsEncryptChange(t *testing.T) {
	for _, tt := range []struct{ use, asks string }{
		{"rotate-keys", `{"stage":"rotate_keys"}`},
		{"reencrypt", `{"stage":"reencrypt_request"}`},
		{"enable", `{"enable":true}`},
		{"disable", `{"enable":false}`},
	} {
		data, url, asked := encryptionServer(t, `{"stage":"reencrypt_active","enable":true,"hashmatch":true,"done":7,"total":20}`, finishedStatus)
		code, out, errs := run("secrets-encrypt", tt.use, "--server", url, "--data-dir", data)
		if code != 0 || *asked != tt.asks || !strings.HasPrefix(out, "reencrypt_active, 7 of 20 Secrets\nfinished\n") {
			t.Errorf("%s: %d, asked %s, %s%s", tt.use, code, *asked, out, errs)
		}
		code, out, _ = run("secrets-encrypt", tt.use, "--no-wait", "--server", url, "--data-dir", data)
		if code != 0 || !strings.Contains(out, "has begun") || strings.Contains(out, "finished") {
			t.Errorf("%s --no-wait: %d, %s", tt.use, code, out)
		}
	}
	if code, _, errs := run("secrets-encrypt", "prepare"); code != command.ExitUsage || !strings.Contains(errs, "rotate-keys") {
		t.Errorf("prepare: %d, %s", code, errs)
	}
	if code, _, errs := run("secrets-encrypt", "status", "--data-dir", t.TempDir()); code != command.ExitFailed || !strings.Contains(errs, "is this a server") {
		t.Errorf("no server: %d, %s", code, errs)
	}
}
