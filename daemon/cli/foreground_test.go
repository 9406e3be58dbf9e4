// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
)

// TestForegroundCluster: files, variables and flags come to one configuration, as
// with K3s.
func TestForegroundCluster(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	for name, text := range map[string]string{
		file: "token: of-file\nnode-label: [a=b]\ntls-san: [one]\nhttps-listen-port: 7443\n",
		filepath.Join(dir, "config.yaml.d/1.yaml"): "tls-san+: [two]\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	variables := map[string]string{"K3S_TOKEN": "of-variable", "K3S_NODE_NAME": "named", "K3S_LB_SERVER_PORT": "7000", "K3S_DATA_DIR": ""}
	lookup := func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
	for _, tt := range []struct {
		role  configschema.Role
		flags string
		want  string // or what it is refused for
	}{
		{configschema.RoleServer, "--node-label c=d --node-label e=f,g=h --with-node-id --https-listen-port=8443",
			"of-variable named [a=b c=d e=f g=h] [one two] 8443 true 7000"},
		{configschema.RoleServer, "-t of-flag --kubelet-arg=v=2", "of-flag named [a=b] [one two] 7443 false 7000"},
		{configschema.RoleServer, "--https-listen-port 0", "command line:1:20: https-listen-port: must be between"},
		{configschema.RoleServer, "--tls-san x:1", `command line:1:12: tls-san[2]: "x:1" is neither`},
		{configschema.RoleAgent, "-s https://a:6443", file + ":4:20: https-listen-port: is for servers only"},
	} {
		cmd := foregroundCommand(tt.role)
		if err := cmd.ParseFlags(strings.Fields(tt.flags)); err != nil {
			t.Fatal(err)
		}
		cluster, err := foregroundCluster(tt.role, cmd.Flags(), file, lookup)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "of-variable") {
				t.Errorf("%s %s: %v, want %s", tt.role, tt.flags, err, tt.want)
			}
			continue
		}
		got := fmt.Sprint(cluster.Token.Reveal(), " ", cluster.NodeName, " ", cluster.NodeLabel, " ", cluster.TLSSAN, " ", cluster.HTTPSListenPort, " ", cluster.WithNodeID, " ", cluster.LBServerPort)
		if got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.role, tt.flags, got, tt.want)
		}
	}
	cmd := foregroundCommand(configschema.RoleServer)
	if _, err := foregroundCluster(configschema.RoleServer, cmd.Flags(), filepath.Join(dir, "none.yaml"), lookup); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a file that isn't there: %v", err)
	}
	variables["K3S_LB_SERVER_PORT"] = "seven"
	if _, err := foregroundCluster(configschema.RoleServer, cmd.Flags(), file, lookup); err == nil || !strings.Contains(err.Error(), "environment:3:17: lb-server-port: expected a whole number") {
		t.Errorf("a variable that is no number: %v", err)
	}
}

func TestForegroundFlags(t *testing.T) {
	for _, tt := range []struct{ line, says string }{
		{"server --docker", "--docker is a flag of K3s, and is not supported by this release (containerd is part of the image)"},
		{"agent --tls-san a", "--tls-san is a flag of K3s, and is for servers only"},
		{"agent --cluster-init", "--cluster-init is a flag of K3s, and is for servers only"},
		{"server --nonsense", "unknown flag: --nonsense"},
		{"server --lb-server-port x", `invalid argument "x"`},
	} {
		code, _, stderr := run(strings.Fields(tt.line)...)
		if code != command.ExitUsage || !strings.Contains(stderr, tt.says) {
			t.Errorf("%s: exit code %d, %s; want %s", tt.line, code, stderr, tt.says)
		}
	}
	// Each key that a role has is a flag with a description.
	for _, role := range []configschema.Role{configschema.RoleServer, configschema.RoleAgent} {
		flags, err := configschema.ClusterFlags(role)
		if err != nil || len(flags) < 14 {
			t.Fatalf("%s: %v, %v", role, flags, err)
		}
		cmd := foregroundCommand(role)
		for _, f := range flags {
			if found := cmd.Flags().Lookup(f.Key); found == nil || len(found.Usage) < 10 {
				t.Errorf("%s: --%s is %+v", role, f.Key, found)
			}
		}
	}
}
