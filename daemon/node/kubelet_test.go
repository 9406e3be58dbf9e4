// SPDX-License-Identifier: Apache-2.0

package node

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKubeletArgs(t *testing.T) {
	dir := t.TempDir()
	opts := Options{NodeName: "agent-1", NodeIPs: []net.IP{net.IPv4(192, 0, 2, 7), net.ParseIP("2001:db8::7")}, Cluster: configschema.Cluster{
		NodeLabel: []string{"a=b", "c=d"}, V: 4, VModule: "kubelet=6",
		ImageCredentialProviderConfig: write(t, filepath.Join(dir, "config.yaml"), ""), ImageCredentialProviderBinDir: dir,
	}}
	args, err := kubeletArgs(opts, clusterConfig{}, newPaths("/var/lib/rancher/k3s"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"hostname-override": "agent-1", "node-ip": "192.0.2.7,2001:db8::7", "node-labels": "a=b,c=d", "v": "4", "vmodule": "kubelet=6",
		"image-credential-provider-config": filepath.Join(dir, "config.yaml"), "image-credential-provider-bin-dir": dir,
		"kubeconfig": "/var/lib/rancher/k3s/agent/kubelet.kubeconfig", "root-dir": "/var/lib/kubelet",
	} {
		if args[name] != want {
			t.Errorf("%s is %q, want %q", name, args[name], want)
		}
	}
}

func TestCredentialProvider(t *testing.T) {
	dir := t.TempDir()
	config, programs := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "bin")
	add := func(c configschema.Cluster) (map[string]string, error) {
		args := map[string]string{}
		return args, addCredentialProvider(args, c, dir)
	}
	if args, err := add(configschema.Cluster{}); err != nil || len(args) > 0 {
		t.Errorf("none is there: %v, %v", args, err)
	}
	named := configschema.Cluster{ImageCredentialProviderConfig: filepath.Join(dir, "other.yaml")}
	if _, err := add(named); err == nil || !strings.Contains(err.Error(), "image-credential-provider-config: ") {
		t.Errorf("one that is named and isn't there: %v", err)
	}
	write(t, config, "")
	if args, err := add(configschema.Cluster{}); err != nil || len(args) > 0 {
		t.Errorf("without programs: %v, %v", args, err)
	}
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	if args, err := add(configschema.Cluster{}); err != nil || args["image-credential-provider-config"] != config ||
		args["image-credential-provider-bin-dir"] != programs {
		t.Errorf("K3s' own place: %v, %v", args, err)
	}
	write(t, named.ImageCredentialProviderConfig, "")
	if args, err := add(named); err != nil || args["image-credential-provider-config"] != named.ImageCredentialProviderConfig {
		t.Errorf("one that is named: %v, %v", args, err)
	}
}

// TestKubeletConfigs: what a user's arguments name comes after ours, and goes with
// them.
func TestKubeletConfigs(t *testing.T) {
	dir, given := t.TempDir(), t.TempDir()
	file := write(t, filepath.Join(given, "kubelet.yaml"), "one")
	folder := filepath.Join(given, "conf.d")
	write(t, filepath.Join(folder, "50-a.conf"), "two")
	write(t, filepath.Join(folder, "README"), "")
	ours := write(t, filepath.Join(dir, "00-k3s-defaults.conf"), "ours")

	rest, err := takeKubeletConfigs([]string{"max-pods=9", "config=" + file, "config-dir=" + folder}, dir)
	if err != nil || !slices.Equal(rest, []string{"max-pods=9"}) {
		t.Fatalf("%q, %v", rest, err)
	}
	content := func() string {
		t.Helper()
		var all []string
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				data, err := os.ReadFile(path)
				name, _ := filepath.Rel(dir, path)
				all = append(all, name+"="+string(data))
				return err
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, " ")
	}
	if got, want := content(), "00-k3s-defaults.conf=ours 10-cli-config.conf=one 20-cli-config-dir/50-a.conf=two"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if rest, err = takeKubeletConfigs([]string{"max-pods=9"}, dir); err != nil || len(rest) != 1 {
		t.Fatalf("%q, %v", rest, err)
	}
	if got, want := content(), "00-k3s-defaults.conf=ours"; got != want {
		t.Errorf("without them: got %s, want %s", got, want)
	}
	for _, arg := range []string{"config=" + file + ".gone", "config-dir=" + folder + ".gone"} {
		if _, err := takeKubeletConfigs([]string{arg}, dir); err == nil || !strings.Contains(err.Error(), arg) {
			t.Errorf("%s: %v", arg, err)
		}
	}
	if _, err := os.Stat(ours); err != nil {
		t.Error(err)
	}
}

func TestKubeletConfiguration(t *testing.T) {
	dir := t.TempDir()
	p := newPaths(dir)
	if err := os.MkdirAll(p.agent("etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	own := write(t, filepath.Join(dir, "resolv.conf"), "nameserver 192.0.2.53\n")
	opts := Options{Cluster: configschema.Cluster{ResolvConf: own, ProtectKernelDefaults: true}}
	kubelet, err := kubeletConfiguration(opts, clusterConfig{}, p)
	if err != nil {
		t.Fatal(err)
	}
	if *kubelet.ResolverConfig != own || !kubelet.ProtectKernelDefaults {
		t.Errorf("got %s, %t", *kubelet.ResolverConfig, kubelet.ProtectKernelDefaults)
	}
	opts.Cluster.ResolvConf = own + ".gone"
	if _, err := kubeletConfiguration(opts, clusterConfig{}, p); err == nil || !strings.Contains(err.Error(), "resolv-conf: ") {
		t.Errorf("a file that isn't there: %v", err)
	}
}

func TestFlannelConfig(t *testing.T) {
	dir := t.TempDir()
	p := newPaths(dir)
	if err := os.MkdirAll(filepath.Dir(p.flannelConfig()), 0o755); err != nil {
		t.Fatal(err)
	}
	config := clusterConfig{podNetworks: networks(t, "10.42.0.0/16"), flannelBackend: "host-gw"}
	file, err := flannelConfig(Options{}, config, p)
	if err != nil || file != p.flannelConfig() {
		t.Fatalf("%s, %v", file, err)
	}
	if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), `"host-gw"`) || !strings.Contains(string(data), `"10.42.0.0/16"`) {
		t.Errorf("%s, %v", data, err)
	}
	config.podNetworks = networks(t, "10.42.0.0/16", "fd00:42::/56")
	if file, err = flannelConfig(Options{}, config, p); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), `"IPv6Network":"fd00:42::/56"`) {
		t.Errorf("of two families: %s, %v", data, err)
	}
	own := write(t, filepath.Join(dir, "own.json"), "{}")
	if file, err = flannelConfig(Options{Cluster: configschema.Cluster{FlannelConf: own}}, config, p); err != nil || file != own {
		t.Errorf("the user's own: %s, %v", file, err)
	}
	if _, err = flannelConfig(Options{Cluster: configschema.Cluster{FlannelConf: own + ".gone"}}, config, p); err == nil {
		t.Error("one that isn't there was taken")
	}
}

// TestDirectServers: without a load balancer the node goes to the server of its
// configuration.
func TestDirectServers(t *testing.T) {
	for server, want := range map[string]string{
		"https://server-1:6443": "server-1:6443", "https://lb.example.org": "lb.example.org:443", "https://[2001:db8::1]:6443": "[2001:db8::1]:6443",
	} {
		s, err := newServers(Options{Log: slog.New(slog.DiscardHandler), Cluster: configschema.Cluster{Server: server, DisableAPIServerLB: true}}, newPaths(t.TempDir()))
		if err != nil || s.balancer != nil || !s.direct || s.address != want {
			t.Errorf("%s: %+v, %v", server, s, err)
		}
	}
}

func networks(t *testing.T, texts ...string) []*net.IPNet {
	t.Helper()
	var all []*net.IPNet
	for _, text := range texts {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, network)
	}
	return all
}

// TestFamilies: a node has an address of each family that pods have.
func TestFamilies(t *testing.T) {
	four, six := net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")
	for _, test := range []struct {
		pods []*net.IPNet
		node []net.IP
		ok   bool
	}{
		{networks(t, "10.42.0.0/16"), []net.IP{four}, true},
		{networks(t, "10.42.0.0/16"), []net.IP{six, four}, true},
		{networks(t, "10.42.0.0/16"), []net.IP{six}, false},
		{networks(t, "10.42.0.0/16", "fd00:42::/56"), []net.IP{four, six}, true},
		{networks(t, "10.42.0.0/16", "fd00:42::/56"), []net.IP{four}, false},
		{networks(t, "fd00:42::/56"), []net.IP{four}, false},
	} {
		err := clusterConfig{podNetworks: test.pods}.matches(test.node)
		if (err == nil) != test.ok || err != nil && !strings.Contains(err.Error(), "give node-ip an address of each family") {
			t.Errorf("pods %v, node %v: %v", test.pods, test.node, err)
		}
	}
}

func TestCNI(t *testing.T) {
	file := filepath.Join(t.TempDir(), "10-flannel.conflist")
	if err := writeCNI(file, []string{"10.42.1.0/24", "fd00:42:0:1::/64"}, []string{"10.42.0.0/16", "fd00:42::/56"}, 1450); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(data)), "")
	for _, want := range []string{
		`"ranges":[[{"subnet":"10.42.1.0/24"}],[{"subnet":"fd00:42:0:1::/64"}]]`,
		`"routes":[{"dst":"10.42.0.0/16"},{"dst":"fd00:42::/56"}]`, `"mtu":1450`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %s:\n%s", want, data)
		}
	}
}
