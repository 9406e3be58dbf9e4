// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Skerry is the section of the cloud-config that is not cloud-init's.
type Skerry struct {
	// Whether the machine is a server or an agent. The default is agent when
	// cluster.server is set, and server otherwise.
	Role Role `yaml:"role" enum:"server,agent"`
	// The cluster: the keys of K3s' config.yaml, under their names there.
	Cluster Cluster `yaml:"cluster"`
	// Kernel settings, by their sysctl names. Applied at each boot, before the
	// network.
	Sysctls Sysctls `yaml:"sysctls"`
	// The kernel's own arguments.
	Kernel *Kernel `yaml:"kernel"`
	// Kernel modules to load, each with its arguments, such as
	// "bonding mode=4 miimon=100". Applied at each boot, before the network.
	Modules []Module `yaml:"modules"`
	// Variables for the processes of Kubernetes and containerd, for bootcmd and
	// runcmd, and for those who log in. With a proxy (HTTP_PROXY, HTTPS_PROXY),
	// NO_PROXY is completed with the networks of pods and services, the
	// cluster's domain, the server to join and the machine itself; what else must
	// be reached without the proxy, such as the other nodes, is yours to add.
	// Applied at each boot, before the network.
	Environment Environment `yaml:"environment"`
	// Where images are pulled from: the keys of K3s' registries.yaml. Applied at
	// each boot, before containerd starts.
	Registries *Registries `yaml:"registries"`
	// The clock.
	Time Clock `yaml:"time"`
	// The network, in the form of netplan and of cloud-init's network-config
	// version 2. It replaces what the data source says of the network. Without
	// either, DHCP is asked on every wired interface.
	Network *Network `yaml:"network"`
	// What may reach the machine from outside of its cluster. Off without the
	// section; with it, everything is held back but what is said in it and what
	// Kubernetes and the machine themselves need: answers to what the machine
	// asked, ICMP, DHCP, what nodes and pods of the cluster send, ssh, the ports
	// of WireGuard tunnels, and on a server the Kubernetes API. Applied at each
	// boot, before the network.
	Firewall *Firewall `yaml:"firewall"`
	// Whether scripts in the user-data are run: as root, each once for an
	// instance, once the network is up, before runcmd and beside the start of
	// Kubernetes. The default is false, and a user-data with a script is refused.
	AllowScripts bool `yaml:"allow-scripts"`
	// Signed images that are laid over /usr, for what the image lacks. What is not
	// signed by a certificate that the machine trusts is refused, and so is what is
	// for another version; the machine boots without it. What leaves the list is
	// gone at once.
	Extensions []Extension `yaml:"extensions"`
	// Upgrades of the whole system. What is here counts for the next upgrade.
	Upgrade *Upgrade `yaml:"upgrade"`
	// How the system's own partitions, STATE and DATA, are made on a new disk.
	Storage *Storage `yaml:"storage"`
	// What the machine is to lose of what it has become, once. It reboots for
	// that, before anything is applied.
	Reset *Reset `yaml:"reset"`
	// Has a live system install itself to a disk; what is in the section says to
	// which. Empty, as {}, it is the only disk there is.
	Install *Install `yaml:"install"`
}

// skerryKeys are named when one of them stands at the top of a file.
var skerryKeys = set("role", "cluster", "sysctls", "kernel", "modules", "environment", "registries", "time", "network",
	"firewall", "allow-scripts", "extensions", "upgrade", "storage", "reset", "install")

// elsewhere are keys that people look for in this section, with where to find
// what they want.
var elsewhere = map[string][2]string{
	"labels":          {"a node's labels have one place", "use skerry.cluster.node-label, a list of key=value"},
	"taints":          {"a node's taints have one place", "use skerry.cluster.node-taint, a list of key=value:effect"},
	"ntp_servers":     {"time servers have one place", "use ntp.servers at the top of the file"},
	"dns_nameservers": {"known k3OS key, not supported by this release", ""},
	"wifi":            {"the image has no drivers for wireless networks", ""},
	"password":        {"known k3OS key", "use chpasswd at the top of the file"},
	"token":           {"it belongs to the cluster", "use skerry.cluster.token"},
	"server_url":      {"known k3OS key", "use skerry.cluster.server"},
	"k3s_args":        {"known k3OS key", "the arguments are the keys of skerry.cluster"},
	"data_sources":    {"known k3OS key: where a machine finds its configuration isn't said in it", ""},
}

func (*Skerry) unsupported(key string) (message, hint string) {
	return elsewhere[key][0], elsewhere[key][1]
}

// EffectiveRole is the role given, or the one that follows from the cluster.
func (k *Skerry) EffectiveRole() Role {
	switch {
	case k.Role != "":
		return k.Role
	case k.Cluster.Server != "":
		return RoleAgent
	default:
		return RoleServer
	}
}

func (k *Skerry) check(s scope) {
	k.checkExtensions(s)
	cluster := scope{s.d, s.at("cluster")}
	if !s.sound("role") || !cluster.sound("server") {
		return // what follows depends on them
	}
	k.checkStorage(cluster)
	role := k.EffectiveRole()
	if firewall := (scope{s.d, s.at("firewall")}); role == RoleAgent && firewall.has("kubernetes-api") {
		firewall.problem(firewall.at("kubernetes-api"), "is for servers only, and this machine is an agent", "remove it")
	}
	k.checkRole(role, cluster)
}

// checkRole checks what one of the roles needs, and the other doesn't have.
func (k *Skerry) checkRole(role Role, cluster scope) {
	if role == RoleAgent {
		k.checkAgent(cluster)
		return
	}
	k.checkServer(cluster)
}

func (k *Skerry) checkAgent(cluster scope) {
	if !cluster.has("server") {
		cluster.problem(cluster.at("server"), "an agent needs the URL of its server", "such as https://server-1:6443")
	}
	if !cluster.has("token") && !cluster.has("token-file") {
		cluster.problem(cluster.at("token"), "an agent needs the token of its cluster",
			"it is in /var/lib/rancher/k3s/server/node-token on the server")
	}
	for _, key := range clusterKeys() {
		if cluster.has(key) && (k3sKeys[key] == onServer || key == "bind-address") {
			cluster.problem(cluster.at(key), "is for servers only, and this machine is an agent", "remove it")
		}
	}
}

func (k *Skerry) checkServer(cluster scope) {
	for _, key := range []string{"server", "cluster-init"} {
		if cluster.has(key) && cluster.has("datastore-endpoint") {
			cluster.problem(cluster.at(key), "is for a cluster that its servers keep themselves, and this one is kept at datastore-endpoint",
				"remove one of them")
		}
	}
	if bool(k.Cluster.ClusterReset) && k.Cluster.Server != "" {
		cluster.problem(cluster.at("cluster-reset"), "makes this server the only one, and server has it join another", "remove server while it is reset")
	}
	if k.Cluster.Server != "" && !cluster.has("token") && !cluster.has("token-file") {
		cluster.problem(cluster.at("token"), "a server that joins others needs the token of their cluster",
			"it is in /var/lib/rancher/k3s/server/token on each of them")
	}
	for _, key := range clusterKeys() {
		if cluster.has(key) && k3sKeys[key] == onAgent {
			cluster.problem(cluster.at(key), "is for agents only, and this machine is a server", "remove it")
		}
	}
}

// checkStorage refuses paths that would be gone after a boot, or can't be
// written at all. K3s' own config.yaml, on any Linux, may name them.
func (k *Skerry) checkStorage(cluster scope) {
	if dir := k.Cluster.DataDir; dir != "" && !strings.HasPrefix(dir, "/var/") {
		cluster.problem(cluster.at("data-dir"), quote(dir)+" doesn't outlive a boot", "choose a folder below /var")
	}
	name := k.Cluster.WriteKubeconfig
	if name != "" && !slices.ContainsFunc(writable, func(dir string) bool { return below(name, dir) && name != dir }) {
		cluster.problem(cluster.at("write-kubeconfig"), quote(name)+" is on the read-only root",
			"choose a path below "+strings.Join(writable, ", "))
	}
}

// Sysctls are kernel settings by name, in the notation of sysctl(8).
type Sysctls map[string]string

var sysctlName = regexp.MustCompile(`^[A-Za-z0-9_-]+([./][A-Za-z0-9_:@-]+)+$`)

func (v *Sysctls) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of names and values", false)
		return
	}
	*v = make(Sysctls, len(n.Content)/2)
	for _, e := range d.entries(n, path) {
		at := join(path, e.key)
		if !sysctlName.MatchString(e.key) {
			d.problem(e.name, at, "is not the name of a kernel setting", "such as vm.max_map_count")
			continue
		}
		if value, ok := d.setting(e, at); ok {
			(*v)[e.key] = value
		}
	}
}

// setting reads the value of a kernel setting: what the kernel sees is text,
// and people write numbers and truth values.
func (d *decoder) setting(e entry, at string) (string, bool) {
	n := e.node
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, at, "a string, a number, true or false", false)
		return "", false
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float":
		if strings.TrimSpace(n.Value) == "" || strings.ContainsAny(n.Value, "\n\r\x00") {
			d.problem(n, at, "must be one line, and not empty", "")
			return "", false
		}
		return n.Value, true
	case "!!bool":
		if strings.EqualFold(n.Value, "true") {
			return "1", true
		}
		return "0", true
	case "!!null":
		d.problem(e.name, at, "has no value", "remove the key or give it a value")
	default:
		d.wrongType(n, at, "a string, a number, true or false", false)
	}
	return "", false
}

// Module is a kernel module with its arguments.
type Module string

// Fields returns the module's name and its arguments.
func (m Module) Fields() (name string, args []string) {
	fields := strings.Fields(string(m))
	if len(fields) == 0 {
		return "", nil
	}
	return fields[0], fields[1:]
}

var (
	moduleName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
	moduleArg  = regexp.MustCompile(`^[A-Za-z0-9_.-]+(=\S*)?$`)
)

func (m *Module) check(s scope) {
	name, args := m.Fields()
	if !moduleName.MatchString(name) {
		s.problem(s.path, quote(string(*m))+" is not a kernel module", `such as wireguard, or "bonding mode=4"`)
		return
	}
	for _, arg := range args {
		if !moduleArg.MatchString(arg) || strings.HasPrefix(arg, "-") {
			s.problem(s.path, quote(arg)+" is not an argument of a kernel module", "name=value")
			return
		}
	}
}
