// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/pki"
)

func TestCertificateCheck(t *testing.T) {
	dir := t.TempDir()
	const day = 24 * time.Hour
	ensure := func(age time.Duration) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dir, "server")); err != nil {
			t.Fatal(err)
		}
		now := func() time.Time { return time.Now().Add(-age) }
		if _, err := pki.Ensure(filepath.Join(dir, "server"), pki.Options{NodeName: "server-1", Now: now}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		age   time.Duration
		code  int
		state string // of client-admin.crt
		ca    string // of server-ca.crt
	}{
		{"new", 0, command.ExitOK, "ok", "ok"},
		{"due", 246 * day, command.ExitOK, "renewal is due", "ok"},
		{"expired", 366 * day, command.ExitFailed, "expired", "ok"},
		{"authority ending", 3300 * day, command.ExitFailed, "expired", "ends within a year"},
	} {
		ensure(tt.age)
		code, stdout, stderr := run("certificate", "check", "--data-dir", dir, "-o", "json")
		if code != tt.code {
			t.Errorf("%s: exit code %d, want %d; %s", tt.name, code, tt.code, stderr)
		}
		var all []pki.Certificate
		if err := json.Unmarshal([]byte(stdout), &all); err != nil {
			t.Fatal(err)
		}
		states := map[string]string{}
		for _, c := range all {
			states[filepath.Base(c.File)] = c.State
		}
		if states["client-admin.crt"] != tt.state || states["server-ca.crt"] != tt.ca {
			t.Errorf("%s: states %v", tt.name, states)
		}
		if _, ok := states["kube-scheduler.crt"]; !ok || states["server-ca.nochain.crt"] != "" {
			t.Errorf("%s: lists %v", tt.name, states)
		}
	}

	ensure(0)
	file := filepath.Join(dir, "server", "tls", "client-admin.crt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run("certificate", "check", "--data-dir", dir)
	if code != command.ExitFailed || !strings.Contains(stdout, "damaged: read certificate from "+file) || !strings.Contains(stderr, "client-admin.crt is damaged") {
		t.Errorf("a damaged file: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := run("certificate", "check", "--data-dir", filepath.Join(dir, "none")); code != command.ExitFailed || !strings.Contains(stderr, "are you root?") {
		t.Errorf("no directory: exit code %d, %s", code, stderr)
	}
}
