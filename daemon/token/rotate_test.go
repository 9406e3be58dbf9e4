// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rotateNow = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func mustEnsure(t *testing.T, dir string, opts Options) *Tokens {
	t.Helper()
	tokens, err := Ensure(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func rotate(t *testing.T, dir string, from *Tokens, text string) *Tokens {
	t.Helper()
	next, err := from.Rotated(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Keep(dir, rotateNow); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestRotated(t *testing.T) {
	dir, ca := serverDir(t), bundle(t)
	first := mustEnsure(t, dir, Options{Token: "first", CABundle: ca})
	second := rotate(t, dir, first, "second")
	if first.Server.Password != "first" || first.Passwd.Password(UserServer) != "first" {
		t.Error("the tokens of before changed")
	}
	for user, password := range map[string]string{UserServer: "second", UserNode: "second"} {
		if _, ok := second.Passwd.Authenticate(user, password); !ok {
			t.Errorf("%s doesn't get in", user)
		}
		if _, ok := second.Passwd.Authenticate(user, "first"); ok {
			t.Errorf("%s gets in with the old token", user)
		}
	}
	want := "K10" + mustHash(t, ca) + "::server:second\n"
	for _, name := range []string{"token", "node-token", "agent-token"} {
		if got := read(t, dir, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, retiredFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if strings.Contains(read(t, dir, retiredFile), "first") {
		t.Error("the old token is kept")
	}
	if _, err := second.Rotated("second"); !errors.Is(err, ErrSameToken) {
		t.Errorf("the same again: %v", err)
	}
	for _, text := range []string{bootstrap, "K10abc::server:x"} {
		if _, err := second.Rotated(text); err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRotatedKeepsAgentToken(t *testing.T) {
	dir, ca := serverDir(t), bundle(t)
	first := mustEnsure(t, dir, Options{Token: "first", AgentToken: "agents", CABundle: ca})
	second := rotate(t, dir, first, "")
	if second.Agent != first.Agent || second.Passwd.Password(UserNode) != "agents" || !strings.Contains(read(t, dir, "agent-token"), "agents") {
		t.Errorf("agents have another token: %s", second.Agent.Username)
	}
	if len(second.Server.Password) != 2*randomBytes {
		t.Error("no random token was made")
	}
}

// TestEnsureAfterRotation: a configuration that still has the token of before doesn't undo the rotation.
func TestEnsureAfterRotation(t *testing.T) {
	dir, ca := serverDir(t), bundle(t)
	tokens := mustEnsure(t, dir, Options{Token: "first", CABundle: ca})
	tokens = rotate(t, dir, tokens, "second")
	tokens = rotate(t, dir, tokens, "third")
	for _, old := range []string{"first", "second", "K10" + mustHash(t, ca) + "::server:second"} {
		before := read(t, dir, "cred", "passwd")
		_, err := Ensure(dir, Options{Token: old, CABundle: ca})
		var retired *RetiredError
		if !errors.As(err, &retired) || !retired.At.Equal(rotateNow) || !strings.Contains(err.Error(), filepath.Join(dir, "token")) {
			t.Errorf("%s: %v, want a RetiredError", old, err)
		} else if strings.Contains(err.Error(), "second") {
			t.Error("the error has the token in it")
		}
		if read(t, dir, "cred", "passwd") != before {
			t.Errorf("%s: something was written", old)
		}
	}
	for _, chosen := range []string{"third", ""} {
		if again := mustEnsure(t, dir, Options{Token: chosen, CABundle: ca}); again.Server != tokens.Server {
			t.Errorf("%q: the token changed", chosen)
		}
	}
	// One that was never replaced by command is the user's will, as ever.
	mustEnsure(t, dir, Options{Token: "fourth", CABundle: ca})
	// Back to an old one, by command.
	tokens = rotate(t, dir, mustEnsure(t, dir, Options{CABundle: ca}), "first")
	if again := mustEnsure(t, dir, Options{Token: "first", CABundle: ca}); again.Server != tokens.Server {
		t.Error("a token that is in use again was refused")
	}
	if _, err := Ensure(dir, Options{Token: "fourth", CABundle: ca}); err == nil {
		t.Error("the token that was replaced last was taken")
	}
}

// TestRotationInterruptedEarly: the power goes before the password file is written; the old token is in use, and listed.
func TestRotationInterruptedEarly(t *testing.T) {
	dir, ca := serverDir(t), bundle(t)
	first := mustEnsure(t, dir, Options{Token: "first", CABundle: ca})
	if err := retire(dir, "first", "second", rotateNow); err != nil {
		t.Fatal(err)
	}
	if again := mustEnsure(t, dir, Options{Token: "first", CABundle: ca}); again.Server != first.Server {
		t.Error("the token changed")
	}
}

func TestRetiredList(t *testing.T) {
	dir := serverDir(t)
	for i := range maxRetired + 2 {
		if err := retire(dir, strings.Repeat("x", i+1), "used", rotateNow); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := readRetired(dir); err != nil || len(all) != maxRetired {
		t.Errorf("%d are remembered, %v", len(all), err)
	}
	if err := checkRetired(dir, strings.Repeat("x", maxRetired+2), "used"); err == nil {
		t.Error("the last is forgotten")
	}
	if err := os.WriteFile(filepath.Join(dir, retiredFile), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkRetired(dir, "x", "used"); err == nil || !strings.Contains(err.Error(), retiredFile) {
		t.Errorf("a damaged list: %v", err)
	}
}
