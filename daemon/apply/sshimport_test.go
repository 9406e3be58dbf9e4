// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/skerry-os/skerry/daemon/config"
)

// keyServer answers with keys, and is trusted by the machine through ca_certs.
func keyServer(t *testing.T, answer http.HandlerFunc) (url, caCerts string) {
	t.Helper()
	server := httptest.NewUnstartedServer(answer)
	server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return server.URL, "ca_certs:\n  trusted:\n    - |\n      " + strings.ReplaceAll(certificate, "\n", "\n      ") + "\n"
}

const opsKeys = "/etc/ssh/authorized_keys.d/ops"

// TestImportKeys goes through the life of a source: it is slow to answer, then
// away, then has other keys, then none, and then leaves the configuration.
func TestImportKeys(t *testing.T) {
	var status atomic.Int32
	var body atomic.Value
	var asked atomic.Int32
	url, caCerts := keyServer(t, func(w http.ResponseWriter, _ *http.Request) {
		// The first two answers of a boot are those of a server that isn't there yet.
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte(body.Load().(string)))
	})
	text := caCerts + "users: [{name: ops, ssh_authorized_keys: ['" + key1 + "'], ssh_import_id: ['" + url + "/ops']}]\n"
	m, system := newMachine(t)
	boot := func(text string, code int, keys string) error {
		t.Helper()
		reboot(t, m)
		asked.Store(0)
		system.slept = 0
		status.Store(int32(code))
		body.Store(keys)
		loaded := parse(t, text)
		if err := applyAll(t, m, loaded); err != nil {
			t.Fatal(err)
		}
		return importKeys(t.Context(), m, loaded)
	}
	if err := boot(text, 200, "# ops\n"+key2+"\n\nssh-rsa damaged\n"); err != nil {
		t.Fatal(err)
	}
	checkFile(t, m, opsKeys, key1+"\n"+key2+"\n")
	if asked.Load() != 3 || system.slept == 0 {
		t.Errorf("asked %d times, waited %v", asked.Load(), system.slept)
	}
	for what, code := range map[string]int{"an error": 500, "gone": 404} {
		if err := boot(text, code, ""); err == nil || !strings.Contains(err.Error(), "the keys of the last time are used") {
			t.Errorf("%s: %v", what, err)
		}
		checkFile(t, m, opsKeys, key1+"\n"+key2+"\n")
		if asked.Load() > importTries {
			t.Errorf("%s: asked %d times", what, asked.Load())
		}
	}
	if err := boot(text, 200, "<html>Please log in</html>"); err == nil || !strings.Contains(err.Error(), "holds no SSH public key") {
		t.Errorf("a page for people: %v", err)
	}
	checkFile(t, m, opsKeys, key1+"\n"+key2+"\n")
	if err := boot(text, 200, ""); err != nil {
		t.Errorf("no keys any more: %v", err)
	}
	checkFile(t, m, opsKeys, key1+"\n")
	if err := boot("users: [{name: ops}]\n", 200, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.path(opsKeys)); err == nil {
		t.Error("somebody is still let in")
	}
	if left, err := os.ReadDir(m.path(importedDir)); err != nil || len(left) > 0 {
		t.Errorf("left on STATE: %v, %v", left, err)
	}
}

// TestUntrustedServer: keys don't come from whoever answers.
func TestUntrustedServer(t *testing.T) {
	url, _ := keyServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(key2)) })
	m, _ := newMachine(t)
	loaded := parse(t, "ssh_import_id: ['"+url+"']\n")
	if err := applyAll(t, m, loaded); err != nil {
		t.Fatal(err)
	}
	if err := importKeys(t.Context(), m, loaded); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(m.path("/etc/ssh/authorized_keys.d/skerry")); err == nil {
		t.Error("the keys were taken")
	}
}

func FuzzAuthorizedKeys(f *testing.F) {
	f.Add([]byte(key1 + "\n# x\n\nssh-dss AAAA\n"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := authorizedKeys(body)
		if err != nil {
			return
		}
		again, err := authorizedKeys(keys)
		if err != nil || string(again) != string(keys) {
			t.Errorf("what was kept (%q) is read as %q, %v", keys, again, err)
		}
	})
}

// TestProxy: what fetches keys goes the way the environment says.
func TestProxy(t *testing.T) {
	var through atomic.Value
	through.Store("")
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through.Store(r.URL.String())
	}))
	t.Cleanup(proxy.Close)
	m, _ := newMachine(t)
	loaded := parse(t, "skerry: {environment: {http_proxy: '"+proxy.URL+"'}}\nphone_home: {url: 'http://example.org/x', tries: 1}\n")
	if err := runAll(t, m, loaded, ReadyStages()); err != nil {
		t.Fatal(err)
	}
	if through.Load() != "http://example.org/x" {
		t.Errorf("the proxy was asked for %q", through.Load())
	}
}

func runAll(t *testing.T, m *Machine, loaded *config.Loaded, stages []Stage) error {
	t.Helper()
	for _, stage := range stages {
		if err := stage.Run(t.Context(), m, loaded); err != nil {
			return err
		}
	}
	return nil
}
