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
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/unit"
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

// TestCertificateRotate: the processes that run are waited for, those that don't are told of.
func TestCertificateRotate(t *testing.T) {
	machine := func() (data string, bundle *pki.Bundle) {
		t.Helper()
		data = t.TempDir()
		bundle, err := pki.Ensure(filepath.Join(data, "server"), pki.Options{NodeName: "server-1"})
		if err != nil {
			t.Fatal(err)
		}
		return data, bundle
	}
	control := serve(t, status.Machine{Units: []unit.Status{{Name: unit.Control, Active: "active"}, {Name: unit.Node, Active: "failed"}}})
	nothing := serve(t, status.Machine{})

	data, bundle := machine()
	tls := filepath.Dir(bundle.TLSFile("x"))
	renewed := make(chan error, 1)
	go func() {
		for {
			if names, err := pki.RequestedRotation(tls); err != nil || len(names) > 0 {
				_, err = bundle.Renew()
				renewed <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	before, err := os.ReadFile(bundle.TLSFile("client-admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run("certificate", "rotate", "--data-dir", data, "--socket", control, "--service", "admin,scheduler")
	if code != command.ExitOK || !strings.Contains(stdout, "skerry-control.service has replaced its certificates") ||
		!strings.Contains(stdout, "services: admin, scheduler\n") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if err := <-renewed; err != nil {
		t.Fatal(err)
	}
	backups, err := filepath.Glob(filepath.Join(data, "server", "tls-*", "client-admin.key"))
	if err != nil || len(backups) != 1 {
		t.Fatalf("backups %v, %v", backups, err)
	}
	old, err := os.ReadFile(backups[0])
	now, nowErr := os.ReadFile(bundle.TLSFile("client-admin.key"))
	if err != nil || nowErr != nil || string(old) != string(before) || string(now) == string(before) {
		t.Errorf("the old key is not in the backup, or in its place (%v, %v)", err, nowErr)
	}

	for _, tt := range []struct {
		name, socket string
		args         []string
		code         int
		says         string
	}{
		{"nothing runs", nothing, nil, command.ExitOK, "skerry-control.service doesn't run: it replaces its certificates when it starts"},
		{"no daemon", "/nonexistent", nil, command.ExitOK, "it is not known what runs"},
		{"it doesn't come to it", control, []string{"--wait", "10ms"}, command.ExitFailed, "journalctl -u skerry-control.service"},
		{"no such service", nothing, []string{"--service", "kubelets"}, command.ExitUsage, "there is no such service; there are admin, api-server"},
		{"no certificates of it", nothing, []string{"--service", "kubelet"}, command.ExitFailed, "this machine has no certificates of kubelet"},
	} {
		data, bundle := machine()
		code, stdout, stderr := run(append([]string{"certificate", "rotate", "--data-dir", data, "--socket", tt.socket}, tt.args...)...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.says) {
			t.Errorf("%s: exit code %d: %s%s", tt.name, code, stdout, stderr)
		}
		if names, err := pki.RequestedRotation(filepath.Dir(bundle.TLSFile("x"))); err != nil || len(names) == 11 == (len(tt.args) == 2 && tt.args[0] == "--service") {
			t.Errorf("%s: requested %v, %v", tt.name, names, err)
		}
	}
	if code, _, stderr := run("certificate", "rotate", "--data-dir", t.TempDir(), "--socket", nothing); code != command.ExitFailed || !strings.Contains(stderr, "no member of a cluster yet") {
		t.Errorf("without certificates: exit code %d, %s", code, stderr)
	}
}
