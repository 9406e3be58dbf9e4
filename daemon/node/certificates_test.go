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
