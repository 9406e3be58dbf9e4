// SPDX-License-Identifier: Apache-2.0

package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/join"
	"github.com/skerry-os/skerry/daemon/pki"
)

func TestExpiring(t *testing.T) {
	dir := t.TempDir()
	bundle, err := pki.Ensure(dir, pki.Options{NodeName: "server-1"})
	if err != nil {
		t.Fatal(err)
	}
	pair := join.Pair{Cert: bundle.TLSFile("client-admin.crt"), Key: bundle.TLSFile("client-admin.key")}
	files := join.Files{ServingKubelet: pair, ClientKubelet: pair, ClientKubeProxy: pair, ClientController: pair}
	log := slog.New(slog.DiscardHandler)
	const day = 24 * time.Hour
	for after, want := range map[time.Duration]bool{0: false, 244 * day: false, 246 * day: true, 366 * day: true} {
		if got := expiring(files, time.Now().Add(after), log) != ""; got != want {
			t.Errorf("after %s of a year it is due = %t, want %t", after, got, want)
		}
	}
	damaged := filepath.Join(dir, "damaged.crt")
	if err := os.WriteFile(damaged, []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	files.ClientKubeProxy.Cert = damaged
	if got := expiring(files, time.Now(), log); got != damaged {
		t.Errorf("a damaged file is %q, want %s to be renewed", got, damaged)
	}
}

func TestDue(t *testing.T) {
	dir := t.TempDir()
	bundle, err := pki.Ensure(dir, pki.Options{NodeName: "server-1"})
	if err != nil {
		t.Fatal(err)
	}
	pair := join.Pair{Cert: bundle.TLSFile("client-admin.crt"), Key: bundle.TLSFile("client-admin.key")}
	files := join.Files{Dir: t.TempDir(), ServingKubelet: pair, ClientKubelet: pair, ClientKubeProxy: pair, ClientController: pair}
	log := slog.New(slog.DiscardHandler)
	const day = 24 * time.Hour
	now := time.Now()
	is := func(what string, at, last time.Time, want bool) {
		t.Helper()
		if got := due(files, at, last, log); (got != "") != want {
			t.Errorf("%s: due because of %q, want %t", what, got, want)
		}
	}
	is("new", now, time.Time{}, false)
	late := now.Add(300 * day)
	is("expiring", late, time.Time{}, true)
	is("expiring, renewed a minute ago", late, late.Add(-time.Minute), false)
	is("expiring, renewed by a clock that was ahead", late, late.Add(time.Minute), true)
	is("expiring, renewed an hour ago", late, late.Add(-time.Hour), true)
	if err := pki.RequestRotation(files.Dir, []string{"client-kubelet"}); err != nil {
		t.Fatal(err)
	}
	is("requested", now, now.Add(-time.Minute), true)
}
