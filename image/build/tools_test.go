// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestPackageSources(t *testing.T) {
	const keyring = "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
	for _, test := range []struct {
		name, list, want string
		fails            bool
	}{
		{name: "two suites", list: "# mirror\ndeb http://mirror.example/debian trixie main\n\ndeb http://mirror.example/security trixie-security main contrib\n",
			want: "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n" + keyring +
				"Types: deb\nURIs: http://mirror.example/security\nSuites: trixie-security\nComponents: main contrib\n" + keyring},
		{name: "options are dropped", list: "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main\n",
			want: "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n" + keyring},
		{name: "sources only", list: "deb-src http://mirror.example/debian trixie main\n", fails: true},
		{name: "no component", list: "deb http://mirror.example/debian trixie\n", fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := t.TempDir()
			if err := writeFile(filepath.Join(tree, "etc/apt/sources.list"), test.list); err != nil {
				t.Fatal(err)
			}
			got, err := packageSources(tree)
			if (err != nil) != test.fails || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	if _, err := packageSources(t.TempDir()); err == nil || !strings.Contains(err.Error(), "sources") {
		t.Errorf("a tree without a list: %v", err)
	}
}
