// SPDX-License-Identifier: Apache-2.0

package versions

import (
	"go/version"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const top = "../../.."

// pins says which module, in which go.mod, is held at which key. A module that
// versions.env pins and no row names would be a second place for the fact.
var pins = []struct{ key, modFile, module string }{
	{"KUBERNETES_VERSION", "go.mod", "k8s.io/kubernetes"},
	{"KINE_VERSION", "go.mod", "github.com/k3s-io/kine"},
	{"FLANNEL_VERSION", "go.mod", "github.com/flannel-io/flannel"},
	{"CONTAINERD_VERSION", "go.mod", "github.com/containerd/containerd/v2"},
	{"CONTAINERD_VERSION", "image/components/containerd/go.mod", "github.com/containerd/containerd/v2"},
	{"CNI_PLUGINS_VERSION", "image/components/cni/go.mod", "github.com/containernetworking/plugins"},
	{"CRI_TOOLS_VERSION", "image/components/crictl/go.mod", "sigs.k8s.io/cri-tools"},
	{"COREDNS_VERSION", "image/components/coredns/go.mod", "github.com/coredns/coredns"},
	{"LOCAL_PATH_VERSION", "image/components/local-path/go.mod", "github.com/rancher/local-path-provisioner"},
	{"METRICS_SERVER_VERSION", "image/components/metrics-server/go.mod", "sigs.k8s.io/metrics-server"},
}

func readModFile(t *testing.T, name string) *modfile.File {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(name, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return mod
}

func TestModulesAgreeWithVersionsEnv(t *testing.T) {
	set, err := Read(filepath.Join(top, File))
	if err != nil {
		t.Fatal(err)
	}
	for _, pin := range pins {
		want, err := set.Get(pin.key)
		if err != nil {
			t.Error(err)
			continue
		}
		got := ""
		for _, require := range readModFile(t, pin.modFile).Require {
			if require.Mod.Path == pin.module {
				got = require.Mod.Version
			}
		}
		if got != want {
			t.Errorf("%s requires %s %q, but %s says %s=%s", pin.modFile, pin.module, got, File, pin.key, want)
		}
	}
}

func TestModulesBuildWithPinnedGo(t *testing.T) {
	set, err := Read(filepath.Join(top, File))
	if err != nil {
		t.Fatal(err)
	}
	modFiles, err := filepath.Glob(filepath.Join(top, "image/components/*/go.mod"))
	if err != nil || len(modFiles) == 0 {
		t.Fatalf("no component modules found: %v", err)
	}
	names := []string{"go.mod"}
	for _, file := range modFiles {
		names = append(names, strings.TrimPrefix(file, top+"/"))
	}
	for _, name := range names {
		if mod := readModFile(t, name); version.Compare("go"+mod.Go.Version, "go"+set["GO_VERSION"]) > 0 {
			t.Errorf("%s wants go %s, newer than GO_VERSION=%s", name, mod.Go.Version, set["GO_VERSION"])
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, in string
		want     Set
		wantErr  string
	}{
		{"comments and blanks", "# a\n\nA=1\n  # b\nB_2=v1.2.3-rc.1+x\n", Set{"A": "1", "B_2": "v1.2.3-rc.1+x"}, ""},
		{"no equals sign", "A=1\nB\n", nil, `f:2: "B" is not KEY=value`},
		{"lower-case key", "a=1\n", nil, `f:1: key "a"`},
		{"space before equals sign", "A =1\n", nil, `f:1: key "A "`},
		{"quotes", "A=\"1\"\n", nil, "f:1: value"},
		{"expansion", "A=$(B)\n", nil, "f:1: value"},
		{"empty value", "A=\n", nil, "f:1: value"},
		{"trailing comment", "A=1 # one\n", nil, "f:1: value"},
		{"twice", "A=1\nA=2\n", nil, "f:2: A is set twice"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse("f", []byte(test.in))
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("got error %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			for key, value := range test.want {
				if got[key] != value {
					t.Errorf("%s: got %q, want %q", key, got[key], value)
				}
			}
		})
	}
}

func TestContainerdPinsTheShippedPause(t *testing.T) {
	set, err := Read(filepath.Join(top, "image/versions.env"))
	if err != nil {
		t.Fatal(err)
	}
	version, err := set.Get("CATATONIT_VERSION")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(top, "overlay/etc/skerry/containerd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `sandbox = "skerry.local/pause:` + version + `"`; !strings.Contains(string(config), want) {
		t.Errorf("containerd.toml does not have %s: no pod would start", want)
	}
}
