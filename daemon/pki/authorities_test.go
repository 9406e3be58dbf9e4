// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/token"
)

func authoritiesOf(t *testing.T, dir string) Authorities {
	t.Helper()
	a, err := ReadAuthorities(filepath.Join(dir, "tls"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func successors(t *testing.T, a Authorities, now time.Time, newRoot bool) Authorities {
	t.Helper()
	next, err := a.Successors(now, newRoot)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestAuthoritiesWireFormat(t *testing.T) {
	a := Authorities{"server-ca.crt": []byte("certificate"), "etcd/peer-ca.key": []byte("key")}
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ServerCA":{"Timestamp":"`, `"Content":"Y2VydGlmaWNhdGU="`, `"ETCDPeerCAKey":`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
	var back Authorities
	if err := json.Unmarshal(data, &back); err != nil || !maps.EqualFunc(a, back, bytes.Equal) {
		t.Errorf("read back: %s, %v", back, err)
	}
	// What K3s' command sends.
	k3s := `{"ServerCA":{"Timestamp":"2026-01-02T03:04:05.000000006Z","Content":"YQ=="},"PasswdFile":{"Timestamp":"0001-01-01T00:00:00Z","Content":null},"ClientCA":{"Content":""}}`
	if err := json.Unmarshal([]byte(k3s), &back); err != nil || len(back) != 1 || string(back["server-ca.crt"]) != "a" {
		t.Errorf("K3s': %s, %v", back, err)
	}
	if _, err := json.Marshal(Authorities{"passwd": nil}); err == nil {
		t.Error("a file of another kind was sent")
	}
}

// TestSuccessors: after a rotation, and after another, who trusts any of the authorities trusts what any has signed.
func TestSuccessors(t *testing.T) {
	dir, now := t.TempDir(), testTime
	opts := testOptions()
	opts.Now = func() time.Time { return now }
	bundles, leaves := map[string][]byte{}, map[string][]byte{}
	keep := func(generation string) {
		t.Helper()
		b := ensure(t, dir, opts)
		bundles[generation], leaves[generation] = b.ServerCAPEM(), read(t, b.TLSFile("serving-supervisor.crt"))
		if b.Replaced() != (generation != "first") {
			t.Errorf("%s: replaced = %t", generation, b.Replaced())
		}
		if err := b.VerifyClient(parseAll(t, read(t, b.TLSFile("client-admin.crt")))); err != nil {
			t.Errorf("%s: %v", generation, err)
		}
		nochain := parseAll(t, read(t, b.TLSFile("client-ca.nochain.crt")))
		if key, err := readKey(b.TLSFile("client-ca.key")); err != nil || len(nochain) != 1 || !samePublicKey(nochain[0].PublicKey, key.Public()) {
			t.Errorf("%s: kube-controller-manager would sign with %d certificates that aren't the key's (%v)", generation, len(nochain), err)
		}
	}
	keep("first")
	hash, err := token.CAHash(bundles["first"])
	if err != nil {
		t.Fatal(err)
	}
	for _, generation := range []string{"second", "third"} {
		now = now.Add(24 * time.Hour)
		present := authoritiesOf(t, dir)
		all, err := present.Replace(successors(t, present, now, false), now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := all.Stage(dir, now); err != nil {
			t.Fatal(err)
		}
		keep(generation)
		pinned, _, err := token.Pinned(bundles[generation], hash)
		if err != nil || !pinned.Equal(parseAll(t, bundles["first"])[0]) {
			t.Errorf("%s: tokens of before don't name its root (%v)", generation, err)
		}
		keys, err := parseKeys(read(t, filepath.Join(dir, "tls", serviceKeyFile)))
		if want := map[string]int{"second": 2, "third": 3}[generation]; err != nil || len(keys) != want {
			t.Errorf("%s: %d keys for service accounts, %v; want %d", generation, len(keys), err, want)
		}
	}
	for trusting, bundle := range bundles {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		for trusted, leaf := range leaves {
			chain := parseAll(t, leaf)
			others := x509.NewCertPool()
			for _, cert := range chain[1:] {
				others.AddCert(cert)
			}
			if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: now, DNSName: ServerName}); err != nil {
				t.Errorf("who trusts the %s authority doesn't trust a certificate of the %s: %v", trusting, trusted, err)
			}
		}
	}
}

// TestSuccessorOutlivesItsPredecessor: certificates are not cut off where the first root ends, and go on without it.
func TestSuccessorOutlivesItsPredecessor(t *testing.T) {
	dir, now := t.TempDir(), testTime
	opts := testOptions()
	opts.Now = func() time.Time { return now }
	ensure(t, dir, opts)
	now = now.Add(caLifetime - 30*24*time.Hour)
	present := authoritiesOf(t, dir)
	if _, err := successors(t, present, now, false).Stage(dir, now); err != nil {
		t.Fatal(err)
	}
	ensure(t, dir, opts)
	now = now.Add(60 * 24 * time.Hour) // the first root has expired
	b := ensure(t, dir, opts)
	cert := readCert(t, b.TLSFile("client-admin.crt"))
	if left := cert.NotAfter.Sub(now); left < 200*24*time.Hour {
		t.Errorf("a certificate is valid for %s only", left)
	}
	if err := b.VerifyClient(parseAll(t, read(t, b.TLSFile("client-admin.crt")))); err != nil {
		t.Error(err)
	}
	next := successors(t, authoritiesOf(t, dir), now, false)
	for _, cert := range parseAll(t, next["client-ca.crt"]) {
		if !now.Before(cert.NotAfter) {
			t.Errorf("the next has the expired certificate %s in it", cert.Subject)
		}
	}
}

func TestReplaceAuthorities(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, testOptions())
	present, later := authoritiesOf(t, dir), testTime.Add(time.Hour)
	good := successors(t, present, later, false)
	unrelated := successors(t, present, later, true)
	with := func(a Authorities, change func(a Authorities)) Authorities {
		a = maps.Clone(a)
		change(a)
		return a
	}
	firstOf := func(bundle []byte, n int) []byte {
		blocks := bytes.SplitAfter(bundle, []byte("-----END CERTIFICATE-----\n"))
		return bytes.Join(blocks[:n], nil)
	}
	for name, tt := range map[string]struct {
		next     Authorities
		now      time.Time
		problem  string // "" if they are accepted
		forcible bool
	}{
		"cross-signed": {next: good},
		"one alone":    {next: Authorities{"server-ca.crt": good["server-ca.crt"], "server-ca.key": good["server-ca.key"]}},
		"cross-signed, without its own root": {next: with(good, func(a Authorities) {
			blocks := bytes.SplitAfter(a["server-ca.crt"], []byte("-----END CERTIFICATE-----\n"))
			a["server-ca.crt"] = append(slices.Clone(blocks[0]), blocks[2]...)
		})},
		"an authority there is none of yet": {next: with(good, func(a Authorities) {
			a["etcd/peer-ca.crt"], a["etcd/peer-ca.key"] = unrelated["client-ca.crt"], unrelated["client-ca.key"]
		})},
		"a second key for service accounts": {next: Authorities{serviceKeyFile: good[serviceKeyFile]}},

		"new roots": {next: unrelated, problem: "server-ca.crt: it was not signed by CN=k3s-server-ca@", forcible: true},
		"cross-signed, without the old root": {next: with(good, func(a Authorities) {
			a["client-ca.crt"] = firstOf(a["client-ca.crt"], 2)
		}), problem: "client-ca.crt: its chain doesn't end in a root"},
		"signed by itself, without the old root": {next: with(good, func(a Authorities) {
			blocks := bytes.SplitAfter(a["client-ca.crt"], []byte("-----END CERTIFICATE-----\n"))
			a["client-ca.crt"] = append(slices.Clone(blocks[1]), blocks[0]...)
		}), problem: "client-ca.crt: it was not signed by CN=k3s-client-ca@", forcible: true},
		"the signing key is gone": {next: Authorities{serviceKeyFile: firstKey(t, good[serviceKeyFile])}, problem: "service.key: the key that signs", forcible: true},

		"nothing":         {next: Authorities{}, problem: "nothing to replace"},
		"the present":     {next: present, problem: "nothing to replace"},
		"no chain":        {next: with(good, func(a Authorities) { a["server-ca.crt"] = firstOf(a["server-ca.crt"], 1) }), problem: "server-ca.crt: its chain doesn't end in a root"},
		"key missing":     {next: Authorities{"server-ca.crt": good["server-ca.crt"]}, problem: "server-ca.crt: the key belongs to another certificate"},
		"key of another":  {next: with(good, func(a Authorities) { a["server-ca.key"] = a["client-ca.key"] }), problem: "server-ca.crt: the key belongs to another"},
		"no key":          {next: with(good, func(a Authorities) { a["server-ca.key"] = []byte("x") }), problem: "server-ca.crt: the key that goes with it: no private key"},
		"no certificate":  {next: with(good, func(a Authorities) { a["client-ca.crt"] = []byte("x") }), problem: "client-ca.crt: no PEM certificate"},
		"no service key":  {next: Authorities{serviceKeyFile: []byte("x")}, problem: "service.key: no private key"},
		"half a key":      {next: Authorities{serviceKeyFile: append(slices.Clone(good[serviceKeyFile]), []byte("-----BEGIN EC PRIVATE KEY-----\naGVsbG8=\n-----END EC PRIVATE KEY-----\n")...)}, problem: "service.key: no private key"},
		"a leaf":          {next: Authorities{"client-ca.crt": read(t, filepath.Join(dir, "tls/client-admin.crt")), "client-ca.key": read(t, filepath.Join(dir, "tls/client-admin.key"))}, problem: "may not sign others"},
		"expired":         {next: good, now: testTime.Add(11 * 365 * 24 * time.Hour), problem: "it expired on 2036"},
		"of the future":   {next: good, now: testTime.Add(-time.Hour), problem: "it is valid from 2026-11-01T12:00:00Z on only"},
		"all that is bad": {next: with(unrelated, func(a Authorities) { a["server-ca.key"], a["client-ca.key"] = nil, nil }), problem: "server-ca.crt: "},
	} {
		now := later
		if !tt.now.IsZero() {
			now = tt.now
		}
		all, err := present.Replace(tt.next, now)
		var notRelated *UnrelatedError
		forcible := errors.As(err, &notRelated)
		switch {
		case tt.problem == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)):
			t.Errorf("%s: %v, want %q", name, err, tt.problem)
		case forcible != tt.forcible:
			t.Errorf("%s: may be forced = %t", name, forcible)
		}
		if usable := err == nil || forcible; (all != nil) != usable {
			t.Errorf("%s: result %t, want %t", name, all != nil, usable)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
			t.Errorf("%s: the error quotes a key", name)
		}
	}
}

func firstKey(t *testing.T, data []byte) []byte {
	t.Helper()
	first, _, ok := bytes.Cut(data, []byte("-----END RSA PRIVATE KEY-----\n"))
	if !ok {
		t.Fatal("no key")
	}
	return append(slices.Clone(first), []byte("-----END RSA PRIVATE KEY-----\n")...)
}

// TestStage: a power cut leaves the authorities there were, or those that are to be.
func TestStage(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, testOptions())
	present := authoritiesOf(t, dir)
	next := successors(t, present, testTime.Add(time.Hour), false)
	backup, err := next.Stage(dir, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(present, authoritiesOf(t, dir), bytes.Equal) {
		t.Error("authorities were replaced under a running server")
	}
	if kept, err := ReadAuthorities(backup); err != nil || !maps.EqualFunc(present, kept, bytes.Equal) {
		t.Errorf("the backup is another (%v)", err)
	}
	if info, err := os.Stat(filepath.Join(dir, stagedFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// The power goes after one file.
	if err := os.WriteFile(filepath.Join(dir, "tls", "server-ca.key"), next["server-ca.key"], 0o600); err != nil {
		t.Fatal(err)
	}
	b := ensure(t, dir, testOptions())
	if !b.Replaced() || !maps.EqualFunc(next, authoritiesOf(t, dir), bytes.Equal) {
		t.Error("they are not the new ones after the next start")
	}
	for name, mode := range map[string]fs.FileMode{"server-ca.key": 0o600, "server-ca.crt": 0o644, serviceKeyFile: 0o600} {
		if info, err := os.Stat(b.TLSFile(name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if current := read(t, b.TLSFile("service.current.key")); !bytes.Equal(current, firstKey(t, next[serviceKeyFile])) {
		t.Error("tokens are not signed with the first key")
	}
	if b = ensure(t, dir, testOptions()); b.Replaced() {
		t.Error("replaced again")
	}
}

func TestWriteAuthorities(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	a := Authorities{"server-ca.crt": []byte("c"), "etcd/peer-ca.key": []byte("k")}
	if err := a.Write(dir); err != nil {
		t.Fatal(err)
	}
	if back, err := ReadAuthorities(dir); err != nil || !maps.EqualFunc(a, back, bytes.Equal) {
		t.Errorf("read back %v, %v", back, err)
	}
}

func parseAll(t *testing.T, data []byte) []*x509.Certificate {
	t.Helper()
	certs, err := parseCertificates(data)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}
