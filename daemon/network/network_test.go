// SPDX-License-Identifier: Apache-2.0

package network

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// cases are the folders of testdata: a description, and below rendered the files
// that it means.
func cases(t *testing.T) []string {
	t.Helper()
	inputs, err := filepath.Glob("testdata/*/input.*")
	if err != nil || len(inputs) < 10 {
		t.Fatalf("testdata is not where it was: %v, %v", inputs, err)
	}
	return inputs
}

func parse(t *testing.T, input string) *configschema.Network {
	t.Helper()
	data, err := os.ReadFile(input)
	if err != nil {
		t.Fatal(err)
	}
	parser := configschema.ParseNetworkConfig
	if filepath.Ext(input) == ".json" {
		parser = configschema.ParseNetworkData
	}
	network, problems := parser(input, data)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return network
}

func TestRender(t *testing.T) {
	for _, input := range cases(t) {
		t.Run(filepath.Base(filepath.Dir(input)), func(t *testing.T) {
			files := Render(parse(t, input))
			dir := filepath.Join(filepath.Dir(input), "rendered")
			if *update {
				rewrite(t, dir, files)
			}
			golden := map[string]string{}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
				if err != nil {
					t.Fatal(err)
				}
				golden[entry.Name()] = string(data)
			}
			for _, file := range files {
				want, ok := golden[file.Name]
				delete(golden, file.Name)
				if !ok || want != string(file.Data) {
					t.Errorf("%s differs (-update rewrites it)\ngot:\n%s\nwant:\n%s", file.Name, file.Data, want)
				}
			}
			for name := range golden {
				t.Errorf("%s was not rendered", name)
			}
		})
	}
}

func rewrite(t *testing.T, dir string, files []File) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(dir, file.Name), file.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRenderAgain: the same network gives the same files in the same order.
func TestRenderAgain(t *testing.T) {
	for _, input := range cases(t) {
		first, second := Render(parse(t, input)), Render(parse(t, input))
		if !slices.EqualFunc(first, second, func(a, b File) bool { return a.Name == b.Name && string(a.Data) == string(b.Data) }) {
			t.Errorf("%s: not the same twice", input)
		}
		for i := range first {
			if i > 0 && first[i-1].Name >= first[i].Name {
				t.Errorf("%s: %s comes after %s", input, first[i].Name, first[i-1].Name)
			}
		}
	}
}

// TestSecrets: a key is in a file of its own, which says that it is secret.
func TestSecrets(t *testing.T) {
	secrets := 0
	for _, file := range Render(parse(t, "testdata/wireguard/input.yaml")) {
		text := string(file.Data)
		holds := strings.Contains(text, "4GgaQCy68nzN") || strings.Contains(text, "7voRZ/ojfX")
		if holds != file.Secret {
			t.Errorf("%s: secret %v, holds a key %v", file.Name, file.Secret, holds)
		}
		if file.Secret {
			secrets++
			if strings.HasSuffix(file.Name, ".netdev") || strings.HasSuffix(file.Name, ".network") {
				t.Errorf("networkd would read %s as one of its files", file.Name)
			}
		}
	}
	if secrets != 3 {
		t.Errorf("%d secrets, want 3", secrets)
	}
}

// TestPodsAreNotMatched: a [Match] section names one interface, or rules virtual
// ones out.
func TestPodsAreNotMatched(t *testing.T) {
	for _, input := range cases(t) {
		for _, file := range Render(parse(t, input)) {
			if strings.HasSuffix(file.Name, ".netdev") || file.Secret {
				continue
			}
			match := sectionsOf(t, file)[0]
			names, kind, others := "", "", 0
			for _, s := range match.settings {
				switch s.key {
				case "Name", "OriginalName":
					names = s.value
				case "Kind":
					kind = s.value
				default:
					others++
				}
			}
			exact := names != "" && !strings.ContainsAny(names, "*?[ ") && others == 0
			if match.name != "Match" || !exact && kind != "!*" {
				t.Errorf("%s: %s may match the interfaces of pods: %v", input, file.Name, match)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for input, want := range map[string]string{
		"testdata/mac-set-name/input.yaml": "wan0 lan0 enp4s0 vlan5",
		"testdata/driver/input.yaml":       "",
		"testdata/bond-vlan/input.yaml":    "enp1s0 enp2s0 bond0 bond0.100 storage",
	} {
		n := parse(t, input)
		var files []string
		for _, file := range Render(n) {
			files = append(files, file.Name)
		}
		if got := strings.Join(Names(n, files), " "); got != want {
			t.Errorf("%s: got %q, want %q", input, got, want)
		}
	}
	n := parse(t, "testdata/bond-vlan/input.yaml")
	changed := []string{"50-skerry-bond0.100.network", "50-skerry-enp2s0.network", "50-skerry-gone.network"}
	if got := strings.Join(Names(n, changed), " "); got != "enp2s0 bond0.100" {
		t.Errorf("of what has changed: %q", got)
	}
}

// TestNothing: a network that describes nothing leaves the image's default.
func TestNothing(t *testing.T) {
	if files := Render(new(configschema.Network)); len(files) > 0 {
		t.Errorf("got %v", files)
	}
}

// sectionsOf reads a file as networkd does.
func sectionsOf(t *testing.T, file File) []section {
	t.Helper()
	var list []section
	for number, line := range strings.Split(string(file.Data), "\n") {
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			list = append(list, section{name: strings.Trim(line, "[]")})
		case !ok || key == "" || value == "" || len(list) == 0:
			t.Fatalf("%s:%d: %q is not a setting", file.Name, number+1, line)
		default:
			last := &list[len(list)-1]
			last.text(key, value)
		}
	}
	return list
}

// FuzzRender: whatever is accepted becomes files whose every line is a setting.
func FuzzRender(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*/input.*")
	if err != nil || len(inputs) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func(string, []byte) (*configschema.Network, configschema.Problems){
			configschema.ParseNetworkConfig, configschema.ParseNetworkData,
		} {
			network, problems := parse("network-config", data)
			if len(problems) > 0 {
				continue
			}
			for _, file := range Render(network) {
				if file.Name != filepath.Base(file.Name) || !strings.HasPrefix(file.Name, Prefix) {
					t.Errorf("%q is not the name of a file of ours", file.Name)
				}
				if !file.Secret {
					sectionsOf(t, file)
				}
			}
		}
	})
}
