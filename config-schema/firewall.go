// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// Firewall says what may reach the machine from outside of its cluster. What it
// sends itself, and what it passes on for pods, isn't touched.
type Firewall struct {
	// Whether the firewall is on. The default is true: the section turns it on.
	Enabled *bool `yaml:"enabled"`
	// What becomes of what nothing else lets in: it is dropped without a word,
	// rejected with an answer, or accepted after all. The default is drop.
	Default string `yaml:"default" enum:"drop,reject,accept"`
	// Who may log in over ssh, on port 22: true for everybody, false for nobody,
	// or a list of networks. The default is true.
	SSH Access `yaml:"ssh"`
	// Who reaches the Kubernetes API of a server, at which agents join, too: true
	// for everybody, false for the nodes that have joined only, or a list of
	// networks. The default is true.
	KubernetesAPI Access `yaml:"kubernetes-api"`
	// Who reaches Services of type NodePort: true for everybody, false for
	// nodes and pods only, or a list of networks. Without the key they are like
	// all else: default and rules decide.
	NodePorts Access `yaml:"node-ports"`
	// What else is let in, or kept out, in order: the first rule that fits a
	// connection decides. They come before ssh, kubernetes-api, node-ports and
	// what nodes and pods send. They also fit the host ports of pods and the
	// ports of Services at the machine's own addresses.
	Rules []FirewallRule `yaml:"rules"`
}

// On says whether there is to be a firewall.
func (f *Firewall) On() bool { return f != nil && (f.Enabled == nil || *f.Enabled) }

func (*Firewall) unsupported(key string) (message, hint string) {
	hints := map[string]string{
		"policy": "use default", "input": "use default", "zone": "use rules with interfaces", "zones": "use rules with interfaces",
		"services": "use rules with ports", "ports": "use rules with ports", "output": "what the machine sends is never held back",
		"forward": "what pods send and receive is the business of NetworkPolicies", "masquerade": "flannel masquerades what pods send",
	}
	if hint, known := hints[key]; known {
		return "unknown key", hint
	}
	return "", ""
}

// FirewallRule lets connections in or keeps them out, by all that it says of
// them.
type FirewallRule struct {
	// Name of the rule, for people: it is the comment in `nft list table inet
	// skerry`.
	Name string `yaml:"name"`
	// Ports of the machine: numbers, and ranges such as 8000-8100.
	Ports Ports `yaml:"ports"`
	// Protocols: one, or a list. The default is tcp where there are ports, and
	// every protocol where there are none.
	Protocol ArgList `yaml:"protocol" enum:"tcp,udp,sctp,ah,esp,gre,ipip,ospf,vrrp"`
	// Networks and addresses that the connections come from: one, or a list. The
	// word nodes stands for the nodes of the cluster.
	From Sources `yaml:"from"`
	// Interfaces that the connections come in by: one, or a list. A * at the end
	// stands for anything. Cards of a VRF go by the name of the VRF.
	Interfaces Patterns `yaml:"interfaces"`
	// What becomes of them. The default is accept.
	Action string `yaml:"action" enum:"accept,drop,reject"`
}

// maxRuleName is less than nft's limit for comments, in bytes.
const maxRuleName = 100

func (r *FirewallRule) check(s scope) {
	if strings.ContainsAny(r.Name, "\"\\\n\r\x00") || len(r.Name) > maxRuleName {
		s.problem(s.at("name"), "is not a name for a rule", "one line of at most 100 characters, without quotes and backslashes")
	}
	// An empty list is not nobody: it would be everybody.
	said := false
	for _, k := range []struct {
		key    string
		length int
	}{{"ports", len(r.Ports)}, {"protocol", len(r.Protocol)}, {"from", len(r.From)}, {"interfaces", len(r.Interfaces)}} {
		said = said || s.has(k.key)
		if s.has(k.key) && k.length == 0 {
			s.problem(s.at(k.key), "is empty", "remove the key or give it a value")
		}
	}
	if !said {
		s.problem(s.path, "says nothing of the connections that are meant", "one of ports, protocol, from, interfaces")
	}
	for i, protocol := range r.Protocol {
		if len(r.Ports) > 0 && !portProtocols[protocol] {
			s.problem(s.item("protocol", i), quote(protocol)+" has no ports", "remove the ports, or write two rules")
		}
	}
	for i, name := range r.Interfaces {
		at := s.item("interfaces", i)
		plain, _ := strings.CutSuffix(name, "*")
		if len(name) > maxInterfaceName || name == "*" || !interfaceName.MatchString(plain) {
			s.problem(at, quote(name)+" is not the name of an interface", "such as eth1, or wg* for all that begin with wg")
		}
	}
}

var portProtocols = set("tcp", "udp", "sctp")

// Access says who reaches something: everybody, nobody, or some networks.
type Access struct {
	given, all bool
	// From are the networks, where there are some.
	from Sources
}

// Given says whether the file has it.
func (a Access) Given() bool { return a.given }

// All says whether it is for everybody.
func (a Access) All() bool { return a.all }

// From are the networks that it is for. With none it is for everybody or nobody.
func (a Access) From() Sources { return a.from }

func (a *Access) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on":
			*a = Access{given: true, all: true}
			return
		case "false", "no", "off":
			*a = Access{given: true}
			return
		}
	}
	if n.Kind != yaml.SequenceNode && (n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str") {
		d.wrongType(n, path, "true, false or a list of networks", false)
		return
	}
	a.given = true
	d.value(n, path, &a.from)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.problem(n, path, "is an empty list", "write false for nobody, or true for everybody")
	}
}

func (a Access) written() any {
	if len(a.from) > 0 {
		return a.from
	}
	return a.all
}
