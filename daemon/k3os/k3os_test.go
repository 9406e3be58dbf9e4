// SPDX-License-Identifier: Apache-2.0

package k3os

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMigrate compares result and notes with the golden file beside the k3OS
// file: users read these lines.
func TestMigrate(t *testing.T) {
	names, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			config, notes, err := Migrate(filepath.Base(name), data)
			if err != nil {
				got.WriteString("error: " + err.Error() + "\n")
			} else if problems := configschema.Validate("result", config); len(problems) > 0 {
				t.Errorf("the result is refused:\n%v", problems)
			}
			got.Write(config)
			for _, note := range notes {
				got.WriteString("> " + note.String() + "\n")
				if strings.Contains(note.String(), "hunter2") {
					t.Errorf("a note repeats a secret: %s", note)
				}
			}
			golden := strings.TrimSuffix(name, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got.String() != string(want) {
				t.Errorf("differs from %s (-update rewrites it): %v\ngot:\n%s", golden, err, got.String())
			}
		})
	}
}

// TestEveryKeyIsNoted: no key of a file is dropped in silence.
func TestEveryKeyIsNoted(t *testing.T) {
	data, err := os.ReadFile("testdata/server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, notes, err := Migrate("server.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	noted := map[string]bool{}
	for _, note := range notes {
		key, _, _ := strings.Cut(note.Key, " ")
		noted[strings.TrimPrefix(key, "k3os.")] = true
	}
	for _, keys := range [][]key{topKeys, k3osKeys} {
		for _, k := range keys {
			if k.keys == nil && !noted[k.name] && k.name != "server_url" {
				t.Errorf("%s is not noted", k.name)
			}
		}
	}
}

func TestFold(t *testing.T) {
	for _, written := range []string{"ssh_authorized_keys", "sshAuthorizedKeys", "sshauthorizedkey", "SSH_AUTHORIZED_KEY", "ssh-authorized-keys"} {
		if k := lookup(topKeys, written); k == nil || k.name != "ssh_authorized_keys" {
			t.Errorf("%s is not found", written)
		}
	}
	if k := lookup(topKeys, "ssh"); k != nil {
		t.Errorf("ssh is taken for %s", k.name)
	}
}

func FuzzMigrate(f *testing.F) {
	names, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config, _, err := Migrate("config.yaml", data)
		if err != nil {
			return
		}
		if problems := configschema.Validate("result", config); len(problems) > 0 {
			t.Fatalf("the result is refused: %v\n%s", problems, config)
		}
	})
}
