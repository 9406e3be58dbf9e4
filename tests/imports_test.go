// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"path/filepath"
	"strings"
	"testing"
)

// ban says what files of a folder must not import. Folders and imports include what is below them.
type ban struct {
	folder  string   // from the top of the tree; "." for everywhere
	imports []string // a path of ours starts with "./"
	except  []string // folders, or test files by their suffix
	reason  string
}

var bans = []ban{
	{
		folder:  "config-schema",
		imports: []string{"./"},
		except:  []string{"config-schema"},
		reason:  "the contract with users stands alone: the daemon, the image build and tools of others all read it",
	},
	{
		folder:  "config-schema",
		imports: []string{"net/http", "os/exec", "k8s.io"},
		except:  []string{"_test.go"},
		reason:  "parsing is pure: it reads what it is given, and tells the same of the same on any machine",
	},
	{
		folder:  "daemon",
		imports: []string{"./image", "./tests"},
		except:  []string{"_test.go"},
		reason:  "what runs on a machine knows neither how its image is made nor how it is tested",
	},
	{
		folder:  "image",
		imports: []string{"./daemon", "./tests"},
		reason:  "the image takes the daemon as a file: were it linked, each change of the daemon would rebuild the builders",
	},
	{
		folder: "daemon/source",
		imports: []string{"./daemon/apply", "./daemon/boot", "./daemon/config", "./daemon/control", "./daemon/node",
			"./daemon/join", "./daemon/unit"},
		reason: "data flows one way, source to config to apply to role: a source hands bytes over and cannot act on them",
	},
	{
		folder:  "daemon/userdata",
		imports: []string{"./daemon", "net/http", "os/exec", "os"},
		except:  []string{"daemon/userdata", "_test.go"},
		reason:  "what a stranger wrote is taken apart without touching anything: who fetches for it is the caller's choice",
	},
	{
		folder:  "daemon/k3os",
		imports: []string{"./daemon", "os", "os/exec"},
		except:  []string{"_test.go"},
		reason:  "a migration turns one text into another, on any machine",
	},
	{
		folder:  "tests/metadata",
		imports: []string{"./"},
		reason:  "a fake that shares code with what it tests shares its mistakes",
	},
	{
		folder:  "daemon/config",
		imports: []string{"./daemon/apply", "./daemon/boot", "./daemon/control", "./daemon/node", "./daemon/unit"},
		reason:  "data flows one way: loading a configuration must not be able to change the machine",
	},
	{
		folder: "daemon/apply",
		imports: []string{"./daemon/boot", "./daemon/control", "./daemon/node", "./daemon/join", "./daemon/supervisor",
			"./daemon/unit", "k8s.io"},
		reason: "data flows one way: applying happens before there is a role and knows nothing of clusters",
	},
	{
		folder:  "daemon/network",
		imports: []string{"./daemon", "k8s.io"},
		except:  []string{"daemon/network"},
		reason:  "rendering a network is a function of its definition: what is written where, and when, is for apply to say",
	},
	{
		folder:  "daemon/control",
		imports: []string{"./daemon/node", "./daemon/apply", "./daemon/boot", "k8s.io/kubernetes/cmd/kubelet"},
		reason:  "control plane and node are processes of their own: upstream's CSI plugin keeps a global that both would write",
	},
	{
		folder:  "daemon/node",
		imports: []string{"./daemon/control", "./daemon/apply", "./daemon/boot", "k8s.io/kubernetes/cmd/kube-controller-manager"},
		reason:  "control plane and node are processes of their own: upstream's CSI plugin keeps a global that both would write",
	},
	{
		folder:  "daemon",
		imports: []string{"k8s.io/kubernetes"},
		except:  []string{"daemon/control", "daemon/node", "daemon/kube"},
		reason:  "only the big binary links Kubernetes: the daemon and the initrd start in milliseconds and stay small",
	},
	{
		folder:  "daemon/slot",
		imports: []string{"./daemon/upgrade", "./daemon/boot", "./daemon/config", "k8s.io"},
		reason:  "which versions are on the disk is so whatever the configuration says, and whoever asks",
	},
	{
		folder:  "daemon/upgrade",
		imports: []string{"./daemon/apply", "./daemon/boot", "./daemon/config", "./daemon/control", "./daemon/node", "k8s.io"},
		reason:  "what judges a version on trial depends on as little of it as can be: it asks the daemon over a socket",
	},
	{
		folder:  "daemon/upgradeplan",
		imports: []string{"./daemon/upgrade", "./daemon/slot", "os/exec"},
		reason:  "the controller changes no machine, its own neither: it asks nodes, and these decide by their own keys",
	},
	{
		folder:  "daemon/nodeupgrade",
		imports: []string{"./daemon/upgradeplan", "./daemon/upgrade", "./daemon/slot"},
		reason:  "a node upgrades its machine by the command that people use, and is no part of what asks it to",
	},
	{
		folder:  "daemon/initrd",
		imports: []string{"k8s.io", "./daemon/control", "./daemon/node", "./daemon/boot", "./daemon/cli", "github.com/containerd"},
		reason:  "the initrd is read whole by the firmware at each boot",
	},
	{
		folder:  ".",
		imports: []string{"gopkg.in/yaml.v2", "github.com/ghodss/yaml", "github.com/goccy/go-yaml", "go.yaml.in/yaml"},
		reason:  "one YAML library: gopkg.in/yaml.v3, which knows the line of each key; two would disagree about some file",
	},
	{
		folder:  ".",
		imports: []string{"sigs.k8s.io/yaml"},
		except:  []string{"daemon/addons", "daemon/node", "daemon/control", "image/components", "_test.go"},
		reason:  "one YAML library, but types of Kubernetes, which have JSON tags only, need this one: where they are read",
	},
	{
		folder:  ".",
		imports: []string{"github.com/sirupsen/logrus", "log", "k8s.io/klog", "go.uber.org/zap", "github.com/golang/glog"},
		except:  []string{"daemon/kube", "daemon/control", "daemon/datastore", "daemon/etcd", "daemon/node", "image/components"},
		reason:  "one way to log: log/slog, with the logger passed in; Kubernetes' own is tamed where it is linked",
	},
	{
		folder:  ".",
		imports: []string{"github.com/stretchr/testify"},
		except:  []string{"_test.go"},
		reason:  "an assertion library has no business in a program",
	},
	{
		folder: ".",
		imports: []string{"github.com/aws", "cloud.google.com", "github.com/Azure/azure-sdk-for-go", "github.com/hetznercloud",
			"github.com/digitalocean"},
		reason: "no cloud SDKs: what a machine asks its cloud is a few plain requests",
	},
	{
		folder:  ".",
		imports: []string{"io/ioutil", "github.com/pkg/errors", "github.com/hashicorp/go-multierror"},
		reason:  "the standard library has os, io, %w and errors.Join",
	},
	{
		folder:  "tests/vm/ethernet",
		imports: []string{"./"},
		reason:  "a network is a network: it knows nothing of machines",
	},
	{
		folder:  "tests/vm",
		imports: []string{"./daemon", "./tests/scenario", "./config-schema"},
		reason:  "machines are looked at from outside: a harness that shares code with what it tests shares its mistakes",
	},
	{
		folder:  "tests/scenario",
		imports: []string{"./daemon", "./config-schema"},
		except:  []string{"_test.go"}, // what a scenario feeds a machine can be checked before there is one
		reason:  "scenarios see what a user sees: a message or path is spelled out, so that a change of it shows",
	},
}

func TestImports(t *testing.T) {
	files := sources(t)
	for _, b := range bans {
		if b.reason == "" {
			t.Errorf("%s must not import %v: without a reason", b.folder, b.imports)
		}
		found := false
		for _, f := range files {
			if !within(f.path, b.folder) {
				continue
			}
			found = true
			if b.excepts(f.path) {
				continue
			}
			for _, path := range importPaths(f) {
				for _, banned := range b.imports {
					if imports(path, banned) {
						t.Errorf("%s imports %s: %s", f.path, path, b.reason)
					}
				}
			}
		}
		if !found {
			t.Errorf("nothing is in %s: the ban of %v bans nothing", b.folder, b.imports)
		}
	}
}

func (b ban) excepts(path string) bool {
	for _, e := range b.except {
		if strings.HasSuffix(e, ".go") && strings.HasSuffix(path, e) || within(path, e) {
			return true
		}
	}
	return false
}

func within(path, folder string) bool {
	return folder == "." || path == folder || strings.HasPrefix(path, folder+"/")
}

// imports says whether path is banned or below it. Of the standard library only the package itself is meant: a ban of
// log is none of log/slog.
func imports(path, banned string) bool {
	if ours, ok := strings.CutPrefix(banned, "./"); ok {
		banned = strings.TrimSuffix(module+"/"+ours, "/")
	}
	standard := !strings.Contains(strings.Split(banned, "/")[0], ".")
	return path == banned || !standard && strings.HasPrefix(path, banned+"/")
}

// TestBansBan makes sure that the table's matching can find what it is for.
func TestBansBan(t *testing.T) {
	for _, tt := range []struct {
		path, banned string
		want         bool
	}{
		{module + "/daemon/apply", "./daemon/apply", true},
		{module + "/daemon/apply/x", "./daemon/apply", true},
		{module + "/daemon/applying", "./daemon/apply", false},
		{module + "/daemon", "./", true},
		{"gopkg.in/yaml.v3", "gopkg.in/yaml.v2", false},
		{"log/slog", "log", false},
		{"log", "log", true},
	} {
		if got := imports(tt.path, tt.banned); got != tt.want {
			t.Errorf("%s banned by %s: %v", tt.path, tt.banned, got)
		}
	}
	if within("config-schema-x/a.go", "config-schema") || !within(filepath.ToSlash("daemon/apply/a.go"), "daemon") {
		t.Error("folders are told apart wrongly")
	}
}
