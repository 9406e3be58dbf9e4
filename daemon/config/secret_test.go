// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecrets: what the file names is read, and what can't be is said without
// the rest of the secret.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(credentialsVariable, dir)
	file := filepath.Join(dir, "skerry.token")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, []byte(strings.Repeat("x", maxSecret+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, token, err string }{
		{name: "file", token: "{file: " + file + "}"},
		{name: "credential", token: "{credential: skerry.token}"},
		{name: "no file", token: "{file: " + dir + "/none}", err: "it must be before anything is applied"},
		{name: "no credential", token: "{credential: skerry.none}", err: "user-data:3:27: skerry.cluster.token: credential skerry.none: systemd was not given it"},
		{name: "too large", token: "{file: " + large + "}", err: "is larger than 64 KiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := user("#cloud-config\nhostname: a\nskerry: {cluster: {token: " + test.token + "}}\n")
			loaded, err := loader(t, m).Local(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := loaded.Config.Skerry.Cluster.Token.Reveal(); got != "hunter2" {
				t.Errorf("got %q", got)
			}
		})
	}
}
