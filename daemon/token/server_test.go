// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func serverDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cred"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func bundle(t *testing.T) []byte {
	t.Helper()
	cert, _ := certificate(t, "k3s-server-ca@1", nil, nil)
	return encode(cert)
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEnsureRandomToken(t *testing.T) {
	dir, ca := serverDir(t), bundle(t)
	first, err := Ensure(dir, Options{CABundle: ca})
	if err != nil {
		t.Fatal(err)
	}
	want := "K10" + mustHash(t, ca) + "::server:" + first.Server.Password + "\n"
	for _, name := range []string{"token", "node-token", "agent-token"} {
		if got := read(t, dir, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"node-token", "agent-token"} {
		if target, err := os.Readlink(filepath.Join(dir, name)); err != nil || target != "token" {
			t.Errorf("%s links to %q (%v)", name, target, err)
		}
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(first.Server.Password) {
		t.Errorf("random password %q", first.Server.Password)
	}
	pw := first.Server.Password
	if got, want := read(t, dir, "cred", "passwd"), pw+",server,server,k3s:server\n"+pw+",node,node,k3s:agent\n"; got != want {
		t.Errorf("passwd = %q, want %q", got, want)
	}
	for _, name := range []string{"token", "cred/passwd"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	// Either file is enough for the next start to keep the token.
	for _, lost := range []string{"token", "cred/passwd", "node-token"} {
		if err := os.Remove(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
		again, err := Ensure(dir, Options{CABundle: ca})
		if err != nil || again.Server != first.Server {
			t.Errorf("without %s the token changed (%v)", lost, err)
		}
	}
}

func TestEnsureChosenTokens(t *testing.T) {
	dir, ca := serverDir(t), bundle(t)
	for _, chosen := range []string{"s3cret", "K10" + hash + "::server:s3cret", " s3cret\n"} {
		tokens, err := Ensure(dir, Options{Token: chosen, CABundle: ca})
		if err != nil {
			t.Fatal(err)
		}
		if tokens.Server.Password != "s3cret" || tokens.Agent.Password != "s3cret" {
			t.Errorf("token %q: %+v", chosen, tokens)
		}
	}
	tokens, err := Ensure(dir, Options{Token: "s3cret", AgentToken: "for-agents", CABundle: ca})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, dir, "agent-token"), "K10"+mustHash(t, ca)+"::node:for-agents\n"; got != want {
		t.Errorf("agent-token = %q, want %q", got, want)
	}
	if strings.Contains(read(t, dir, "node-token"), "for-agents") {
		t.Error("the server's token was overwritten through the link")
	}
	if _, ok := tokens.Passwd.Authenticate(UserNode, "s3cret"); ok {
		t.Error("agents still join with the server's token")
	}
	// Taking the agent token away again.
	if _, err := Ensure(dir, Options{Token: "s3cret", CABundle: ca}); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "agent-token")); err != nil || target != "token" {
		t.Errorf("agent-token links to %q (%v)", target, err)
	}
}

func TestEnsureRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		opts Options
		err  error
	}{
		"bootstrap token":       {Options{Token: bootstrap, CABundle: bundle(t)}, ErrBootstrapServer},
		"bootstrap agent token": {Options{AgentToken: bootstrap, CABundle: bundle(t)}, ErrBootstrapServer},
		"malformed":             {Options{Token: "K10abc::server:x", CABundle: bundle(t)}, ErrHash},
		"no CA":                 {Options{Token: "x"}, ErrNoCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			dir := serverDir(t)
			if _, err := Ensure(dir, tc.opts); !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if _, err := os.Stat(filepath.Join(dir, "cred", "passwd")); err == nil {
				t.Error("a password file was written")
			}
		})
	}
}

func TestAuthenticate(t *testing.T) {
	p, err := ParsePasswd([]byte("s3cret,server,server,k3s:server\n\"a,b\",node,node,k3s:agent\n,empty,empty,k3s:server\nx,other,other\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		user, password string
		roles          []string
		ok             bool
	}{
		{"server", "s3cret", []string{RoleServer}, true},
		{"node", "a,b", []string{RoleAgent}, true},
		{"other", "x", nil, true},
		{"node", "s3cret", nil, false},
		{"server", "s3cre", nil, false},
		{"server", "s3crett", nil, false},
		{"server", "", nil, false},
		{"empty", "", nil, false},
		{"nobody", "", nil, false},
		{"", "", nil, false},
	} {
		roles, ok := p.Authenticate(tc.user, tc.password)
		if ok != tc.ok || !slices.Equal(roles, tc.roles) {
			t.Errorf("Authenticate(%q, %q) = %v, %v, want %v, %v", tc.user, tc.password, roles, ok, tc.roles, tc.ok)
		}
	}
}

func TestPasswdKeepsOtherUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(file, []byte("x,ops,ops,k3s:server,more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := ReadPasswd(file)
	if err != nil {
		t.Fatal(err)
	}
	p.Set(UserServer, "new\"quote", RoleServer)
	if err := p.Write(file); err != nil {
		t.Fatal(err)
	}
	if p, err = ReadPasswd(file); err != nil || p.Password("ops") != "x" || p.Password(UserServer) != "new\"quote" {
		t.Errorf("after rewriting: %+v, %v", p, err)
	}
}

func FuzzParsePasswd(f *testing.F) {
	f.Add([]byte("s3cret,server,server,k3s:server\n"))
	f.Add([]byte("\"a\n"))
	f.Add([]byte("a,b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePasswd(data)
		if err != nil {
			return
		}
		if _, ok := p.Authenticate("server", ""); ok {
			t.Error("an empty password was accepted")
		}
		p.Set("server", "pw", RoleServer)
		if _, ok := p.Authenticate("server", "pw"); !ok {
			t.Error("the password just set was refused")
		}
	})
}
