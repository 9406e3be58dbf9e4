// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

var tokenNow = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func newTokens() *tokens {
	return &tokens{client: fake.NewClientset(), caHash: strings.Repeat("a", 64), now: func() time.Time { return tokenNow }}
}

func defaultToken() newToken {
	return newToken{ttl: defaultTTL, groups: []string{joinGroup}, usages: usages}
}

// TestToken makes, lists and deletes tokens.
func TestToken(t *testing.T) {
	k, ctx := newTokens(), t.Context()
	full, err := k.create(ctx, defaultToken())
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^K10a{64}::[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(full) {
		t.Errorf("created %q", full)
	}
	parsed, err := token.Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	id, secret, _ := strings.Cut(parsed.Bootstrap, ".")
	stored, err := k.client.CoreV1().Secrets("kube-system").Get(ctx, "bootstrap-token-"+id, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"token-id": id, "token-secret": secret, "expiration": "2026-05-05T03:02:01Z",
		"usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
		"auth-extra-groups": "system:bootstrappers:k3s:default-node-token",
	}
	for key, value := range want {
		if got := string(stored.Data[key]); got != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
	if len(stored.Data) != len(want) || stored.Type != "bootstrap.kubernetes.io/token" {
		t.Errorf("Secret of type %s with %d keys", stored.Type, len(stored.Data))
	}

	own := defaultToken()
	own.secret, own.ttl, own.description = "owned0.0123456789abcdef", 0, "for ever"
	if _, err := k.create(ctx, own); err != nil {
		t.Fatal(err)
	}
	if _, err := k.create(ctx, own); err == nil || !strings.Contains(err.Error(), "owned0 already") || strings.Contains(err.Error(), "0123456789abcdef") {
		t.Errorf("a second time: %v", err)
	}
	all, err := k.list(ctx)
	if err != nil || len(all) != 2 {
		t.Fatalf("listed %v, %v", all, err)
	}
	data, err := json.Marshal(all)
	if err != nil || bytes.Contains(data, []byte(secret)) || bytes.Contains(data, []byte("0123456789abcdef")) {
		t.Errorf("JSON %s, %v", data, err)
	}
	text := k.text(all)
	for _, line := range []string{
		`(?m)^ID +TTL +EXPIRES +USAGES +DESCRIPTION$`,
		`(?m)^` + id + ` +24h +2026-05-05T03:02:01Z +authentication,signing +$`,
		`(?m)^owned0 +forever +never +authentication,signing +for ever$`,
	} {
		if !regexp.MustCompile(line).MatchString(text) {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}

	var out bytes.Buffer
	err = k.remove(ctx, []string{"nosuch", id, "what?", "K10::owned0.0123456789abcdef"}, &out)
	if err == nil || !strings.Contains(err.Error(), "no token nosuch") || strings.Contains(err.Error(), "what?") {
		t.Errorf("delete: %v", err)
	}
	if all, err := k.list(ctx); err != nil || len(all) != 0 || strings.Count(out.String(), "is deleted") != 2 {
		t.Errorf("%v are left, %v: %s", all, err, out.String())
	}
}

// TestForeignToken: a Secret that somebody else made is listed with what is wrong with it, and without its content.
func TestForeignToken(t *testing.T) {
	k := newTokens()
	_, err := k.client.CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-foreig", Namespace: "kube-system"},
		Type:       "bootstrap.kubernetes.io/token",
		Data:       map[string][]byte{"token-id": []byte("foreig"), "token-secret": []byte("Confidential")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := k.list(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != "foreig" || all[0].Problem == "" || strings.Contains(all[0].Problem, "Confidential") {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestTokenRefused(t *testing.T) {
	for want, change := range map[string]func(*newToken){
		"isn't of the form":     func(n *newToken) { n.secret = "Abcdef.0123456789abcdef" },
		"isn't of the form a":   func(n *newToken) { n.secret = "K10::abcdef.0123456789abcdef" },
		"--ttl -1s is negative": func(n *newToken) { n.ttl = -time.Second },
		"--usages: ":            func(n *newToken) { n.usages = []string{"everything"} },
		"--groups: ":            func(n *newToken) { n.groups = []string{"system:masters"} },
	} {
		n := defaultToken()
		change(&n)
		if err := n.check(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0123456789abcdef\"") {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if n := defaultToken(); n.check() != nil {
		t.Errorf("the defaults: %v", n.check())
	}
}

// TestTokenCommand: what is wrong with the command line is told before anything is asked for, with its exit code.
func TestTokenCommand(t *testing.T) {
	run := func(stdin string, args ...string) (string, error) {
		cmd := tokenCommand()
		var out bytes.Buffer
		cmd.SetArgs(append(args, "--kubeconfig", "testdata/none"))
		cmd.SetIn(strings.NewReader(stdin))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.Execute()
		return out.String(), err
	}
	out, err := run("", "generate")
	if err != nil || !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}\n$`).MatchString(out) {
		t.Errorf("generate: %q, %v", out, err)
	}
	for _, test := range []struct {
		code  int
		stdin string
		args  []string
	}{
		{command.ExitUsage, "", []string{"create", "--ttl", "tomorrow"}},
		{command.ExitUsage, "", []string{"create", "nonsense"}},
		{command.ExitUsage, "nonsense\n", []string{"create", "-"}},
		{command.ExitFailed, "", []string{"create", "-"}},
		{command.ExitUsage, "", []string{"delete"}},
		{command.ExitFailed, "", []string{"delete", "abcdef"}}, // no kubeconfig
		{command.ExitFailed, "", []string{"list"}},
	} {
		if _, err := run(test.stdin, test.args...); command.ExitCode(err) != test.code {
			t.Errorf("%q: exit code %d (%v), want %d", test.args, command.ExitCode(err), err, test.code)
		}
	}
}

// TestTokenRotate: what the server is sent, and what is told. The server itself is tested where it is.
func TestTokenRotate(t *testing.T) {
	dir := t.TempDir()
	bundle, err := pki.Ensure(filepath.Join(dir, "server"), pki.Options{NodeName: "server-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Ensure(filepath.Join(dir, "server"), token.Options{Token: "s3cret", CABundle: bundle.ServerCAPEM()}); err != nil {
		t.Fatal(err)
	}
	sent := ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		if err != nil || r.Method != http.MethodPut || r.URL.Path != "/v1-k3s/token" || user != "server" || password != "s3cret" {
			t.Errorf("%s %s by %s, %v", r.Method, r.URL.Path, user, err)
		}
		if sent = string(body); strings.Contains(sent, "s3cret") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"message":"that is the token there is"}`)
		}
	}))
	server.TLS = &tls.Config{GetCertificate: bundle.GetCertificate}
	server.StartTLS()
	defer server.Close()
	for _, tt := range []struct {
		args  []string
		stdin string
		code  int
		sent  string
		says  string
	}{
		{nil, "", command.ExitOK, `{"newToken":""}`, filepath.Join(dir, "server", "token")},
		{[]string{"--new-token", "-"}, "another\n", command.ExitOK, `{"newToken":"another"}`, "doesn't start with the old one"},
		{[]string{"--new-token", "another"}, "", command.ExitOK, `{"newToken":"another"}`, ""},
		{[]string{"--new-token", "s3cret"}, "", command.ExitFailed, `{"newToken":"s3cret"}`, "that is the token there is"},
		{[]string{"--new-token", "-"}, "\n", command.ExitFailed, "", "standard input has no token"},
		{[]string{"--data-dir", t.TempDir()}, "", command.ExitFailed, "", "is this a server, and are you root?"},
		{[]string{"another"}, "", command.ExitUsage, "", ""},
	} {
		sent = ""
		cmd := tokenRotateCommand()
		var out bytes.Buffer
		cmd.SetArgs(append([]string{"--data-dir", dir, "--server", server.URL}, tt.args...))
		cmd.SetIn(strings.NewReader(tt.stdin))
		cmd.SetOut(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.ExecuteContext(t.Context())
		said := fmt.Sprint(out.String(), err)
		if command.ExitCode(err) != tt.code || sent != tt.sent || !strings.Contains(said, tt.says) {
			t.Errorf("%q: exit code %d, sent %s: %s", tt.args, command.ExitCode(err), sent, said)
		}
		if strings.Contains(said, "s3cret") {
			t.Errorf("%q: the token is told: %s", tt.args, said)
		}
	}
}
