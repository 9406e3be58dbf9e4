// SPDX-License-Identifier: Apache-2.0

// Package firewall makes an nftables table of the cloud-config's firewall, and
// keeps in it the addresses of the cluster's nodes and pods.
//
// The table, inet skerry, is replaced as a whole in one transaction: it is the
// old one or the new one, and never none. It holds back and lets in; nothing it
// does changes a packet, and the tables of kube-proxy, flannel and the CNI
// plugins are neither read nor touched.
package firewall

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// Loader has the kernel take up a script of nft(8), as a whole or not at all.
type Loader func(ctx context.Context, script []byte) error

const nft = "/usr/sbin/nft"

// Kernel is the Loader of the machine this process runs on.
func Kernel(ctx context.Context, script []byte) error {
	cmd := exec.CommandContext(ctx, nft, "-f", "-")
	cmd.Stdin = bytes.NewReader(script)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s refuses the rules: %w: %s", nft, err, bytes.TrimSpace(output))
	}
	return nil
}

// Needs are what the machine itself must be reached at.
type Needs struct {
	// APIPort is that of a server's API, 0 on an agent.
	APIPort int
	// Etcd is whether the machine is a member of its servers' own etcd.
	Etcd bool
	// NodePorts are those of Services of type NodePort.
	NodePorts configschema.PortRange
	// TunnelPorts are the UDP ports of WireGuard tunnels.
	TunnelPorts configschema.Ports
}

// numbers are those of IP protocols: nft needs /etc/protocols for their names.
var numbers = map[string]string{
	"tcp": "6", "udp": "17", "sctp": "132", "ah": "51", "esp": "50", "gre": "47", "ipip": "4", "ospf": "89", "vrrp": "112",
}

const (
	head = `# The firewall of the cloud-config, made anew when that is applied.
add table inet skerry
delete table inet skerry
table inet skerry {
`
	// Services have their ports and addresses before kube-proxy and the portmap
	// plugin give them others (dstnat); what those have let through is not judged
	// a second time where it reaches a program of the machine. The second hook is
	// for what the first does not take for the machine's own: broadcasts,
	// multicast and the addresses of VRFs.
	hooks = `	chain before-nat {
		type filter hook prerouting priority dstnat - 15; policy accept;
		ct state established,related accept
		fib daddr type local goto incoming
	}
	chain input {
		type filter hook input priority filter; policy accept;
		ct state established,related accept
		ct status dnat accept
		goto incoming
	}
	chain incoming {
		iifname "lo" accept
		meta l4proto { 1, 2, 58 } accept comment "ICMP, IGMP, ICMPv6"
		meta nfproto ipv4 udp sport 67 udp dport 68 accept comment "DHCP"
		meta nfproto ipv6 udp sport 547 udp dport 546 accept comment "DHCPv6"
`
	// The bridge of the CNI configuration, and addresses that the node process
	// keeps. A pod's address must come from where the way to the pod leads:
	// anybody in the node's network could use it else.
	cluster = `		iifname "cni0" accept comment "pods of this node"
		ip saddr @nodes accept
		ip6 saddr @nodes6 accept
		ip saddr @pods fib saddr . iif oif exists accept
		ip6 saddr @pods6 fib saddr . iif oif exists accept
`
	tail = `	}
	chain rejected {
		meta l4proto 6 reject with tcp reset
		reject with icmpx admin-prohibited
	}
	chain refused {
		counter %s
	}
}
`
)

// Script renders a firewall that is on.
func Script(f *configschema.Firewall, needs Needs, peers Peers) []byte {
	var out bytes.Buffer
	add := func(format string, args ...any) { fmt.Fprintf(&out, "\t\t"+format+"\n", args...) }
	out.WriteString(head)
	out.WriteString(peers.sets())
	out.WriteString(hooks)
	for i := range f.Rules {
		for _, line := range rule(&f.Rules[i]) {
			add("%s", line)
		}
	}
	access(add, "6", "22", "ssh", f.SSH, true)
	out.WriteString(cluster)
	if ports := needs.TunnelPorts.Apart(); len(ports) > 0 {
		add("udp dport { %s } accept comment \"WireGuard\"", portList(ports))
	}
	if needs.APIPort > 0 {
		access(add, "6", fmt.Sprint(needs.APIPort), "Kubernetes API", f.KubernetesAPI, true)
	}
	if needs.Etcd {
		// A server that joins is no node yet. Who may reach the API may reach the members, which ask for a certificate.
		access(add, "6", "2379-2380", "etcd", f.KubernetesAPI, true)
	}
	access(add, "6, 17, 132", needs.NodePorts.String(), "NodePorts", f.NodePorts, false)
	refusal := "drop"
	switch f.Default {
	case "accept":
		add("counter accept")
	case "reject":
		refusal = "goto rejected"
	}
	add("goto refused")
	fmt.Fprintf(&out, tail, refusal)
	return out.Bytes()
}

// Off is the script that removes the table, be it there or not.
func Off() []byte { return []byte("add table inet skerry\ndelete table inet skerry\n") }

// access writes the rules for a service of the machine. What the configuration
// says nothing of is open to all, or left to what comes after.
func access(add func(string, ...any), protocols, ports, name string, a configschema.Access, open bool) {
	what := fmt.Sprintf("meta l4proto { %s } th dport %s ", protocols, ports)
	switch {
	case !a.Given() && !open:
		return
	case !a.Given() || a.All():
		add("%scounter accept comment \"%s\"", what, name)
		return
	}
	for _, from := range sources(a.From()) {
		add("%s%scounter accept comment \"%s\"", from, what, name)
	}
	add("%sgoto refused comment \"%s\"", what, name)
}

// rule renders a rule as one line for each family and interface that it takes.
func rule(r *configschema.FirewallRule) []string {
	what := ""
	protocols := r.Protocol
	if len(r.Ports) > 0 && len(protocols) == 0 {
		protocols = configschema.ArgList{"tcp"}
	}
	if len(protocols) > 0 {
		var list []string
		for _, name := range protocols {
			list = append(list, numbers[name])
		}
		slices.Sort(list)
		what = fmt.Sprintf("meta l4proto { %s } ", strings.Join(slices.Compact(list), ", "))
	}
	if ports := r.Ports.Apart(); len(ports) > 0 {
		what += fmt.Sprintf("th dport { %s } ", portList(ports))
	}
	verdict := "counter accept"
	switch r.Action {
	case "drop":
		verdict = "counter drop"
	case "reject":
		verdict = "counter goto rejected"
	}
	if r.Name != "" {
		verdict += fmt.Sprintf(" comment \"%s\"", r.Name)
	}
	froms := []string{""}
	if len(r.From) > 0 {
		froms = sources(r.From)
	}
	var lines []string
	for _, in := range interfaces(r.Interfaces) {
		for _, from := range froms {
			lines = append(lines, in+from+what+verdict)
		}
	}
	return lines
}

// interfaces are the conditions of which one must hold. Names with a * can't be
// in a set with others.
func interfaces(names configschema.Patterns) []string {
	var conditions, plain []string
	for _, name := range names {
		if strings.HasSuffix(name, "*") {
			conditions = append(conditions, fmt.Sprintf("iifname %q ", name))
		} else if name = fmt.Sprintf("%q", name); !slices.Contains(plain, name) {
			plain = append(plain, name)
		}
	}
	if len(plain) > 0 {
		conditions = append(conditions, "iifname { "+strings.Join(plain, ", ")+" } ")
	}
	if len(conditions) == 0 {
		conditions = []string{""}
	}
	return conditions
}

// sources are the conditions of which one must hold.
func sources(from configschema.Sources) []string {
	var conditions []string
	for _, family := range []struct {
		name string
		ipv6 bool
	}{{"ip", false}, {"ip6", true}} {
		if networks := from.Networks(family.ipv6); len(networks) > 0 {
			conditions = append(conditions, fmt.Sprintf("%s saddr { %s } ", family.name, join(networks)))
		}
	}
	if from.Nodes() {
		conditions = append(conditions, "ip saddr @nodes ", "ip6 saddr @nodes6 ")
	}
	return conditions
}

func portList(ports configschema.Ports) string { return join(ports) }

func join[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = item.String()
	}
	return strings.Join(texts, ", ")
}
