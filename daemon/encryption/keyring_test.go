// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

// transformer is what kube-apiserver makes of a configuration.
func transformer(t *testing.T, config []byte) value.Transformer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, true, "test")
	if err != nil {
		t.Fatalf("kube-apiserver refuses it: %v", err)
	}
	return loaded.Transformers[schema.GroupResource{Resource: secrets}]
}

var where = value.DefaultContext("/registry/secrets/default/a")

// TestKeyring: through a change of keys, what was written under one configuration is read under the one before and after.
func TestKeyring(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	box, cbc := newWriter(Secretbox, now), newWriter(AESCBC, now)
	next := newWriter(Secretbox, now.Add(time.Second))
	for name, tt := range map[string]struct {
		from keyring
		to   writer
	}{
		"rotate":           {keyring{box, plain}, next},
		"another provider": {keyring{cbc, plain}, box},
		"encrypt":          {keyring{plain}, box},
		"decrypt":          {keyring{box, plain}, plain},
	} {
		t.Run(name, func(t *testing.T) {
			prepared := tt.from.with(tt.to)
			steps := []keyring{tt.from, prepared, prepared.promoted(), prepared.promoted().reduced()}
			var all []value.Transformer
			for _, k := range steps {
				config, err := k.encode()
				if err != nil {
					t.Fatal(err)
				}
				if again, err := parseKeyring(config); err != nil || !slices.Equal(again, k) {
					t.Errorf("read as %v, %v", again, err)
				}
				all = append(all, transformer(t, config))
			}
			for i := range steps {
				written, err := all[i].TransformToStorage(t.Context(), []byte("secret"), where)
				if err != nil {
					t.Fatal(err)
				}
				if !steps[i][0].wrote(written) || i == 1 && tt.to.wrote(written) {
					t.Errorf("step %d: not recognised: %.40q", i, written)
				}
				// The last step is taken when nothing is left of before, and with what came before it nothing is read any more.
				for _, j := range []int{i - 1, i + 1} {
					if j < 0 || j == len(steps) {
						continue
					}
					read, _, err := all[j].TransformFromStorage(t.Context(), written, where)
					if err != nil || string(read) != "secret" {
						t.Errorf("written in step %d, read in step %d: %q, %v", i, j, read, err)
					}
				}
			}
			if last := steps[3]; last[0] != tt.to || slices.Contains(last[1:], tt.from[0]) && tt.from[0] != plain {
				t.Errorf("in the end: %d keys", len(last))
			}
		})
	}
}

func TestParseKeyring(t *testing.T) {
	k3s := `{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[` +
		`{"aescbc":{"keys":[{"name":"aescbckey","secret":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}},{"identity":{}}]}]}`
	k, err := parseKeyring([]byte(k3s))
	if err != nil || len(k) != 2 || k[0].name != "aescbckey" || k[1] != plain {
		t.Errorf("K3s': %v, %v", k, err)
	}
	for name, config := range map[string]string{
		"no JSON":       "kind: EncryptionConfiguration",
		"nothing":       "{}",
		"more than one": strings.Replace(k3s, `"secrets"`, `"secrets","configmaps"`, 1),
		"another":       strings.Replace(k3s, "aescbc", "aesgcm", 1),
		"a plug-in":     strings.Replace(k3s, `{"identity":{}}`, `{"kms":{"name":"a","endpoint":"unix:///a"}}`, 1),
	} {
		if k, err := parseKeyring([]byte(config)); err == nil || strings.Contains(err.Error(), "AAECAwQ") {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	if _, err := parseKeyring([]byte(strings.Replace(k3s, `"secrets"`, `"*.*"`, 1))); !errors.Is(err, errForeign) {
		t.Errorf("everything: %v", err)
	}
}

func TestWrote(t *testing.T) {
	w := writer{provider: Secretbox, name: "key1"}
	for value, want := range map[string]bool{
		"k8s:enc:secretbox:v1:key1:abc": true,
		"k8s:enc:secretbox:v1:key11:ab": false,
		"k8s:enc:aescbc:v1:key1:abc":    false,
		"k8s\x00abc":                    false,
		"":                              false,
	} {
		if w.wrote([]byte(value)) != want {
			t.Errorf("%q: %t", value, !want)
		}
		if plain.wrote([]byte(value)) == strings.HasPrefix(value, "k8s:enc:") {
			t.Errorf("%q as plain", value)
		}
	}
}
