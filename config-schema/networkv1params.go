// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// v1Params are the parameters of a bond or a bridge, in the order of the file.
// Their names have dashes or underscores.
type v1Params []v1Param

type v1Param struct {
	key, name string // as written, and with dashes
	values    []string
}

func (p *v1Params) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of parameters and values", false)
		return
	}
	for _, e := range d.entries(n, path) {
		at := join(path, e.key)
		if isNull(e.node) && d.lenient {
			continue
		}
		d.places[at] = place{line: e.node.Line, column: e.node.Column}
		param := newV1Param(e.key)
		items := []*yaml.Node{e.node}
		if e.node.Kind == yaml.SequenceNode {
			items = e.node.Content
		}
		for i, item := range items {
			if item.Kind != yaml.ScalarNode || isNull(item) {
				d.problem(e.node, at, "expected a value, or a list of values", "")
				break
			}
			if e.node.Kind == yaml.SequenceNode {
				d.places[index(at, i)] = place{line: item.Line, column: item.Column}
			}
			param.values = append(param.values, item.Value)
		}
		*p = append(*p, param)
	}
}

func newV1Param(key string, values ...string) v1Param {
	return v1Param{key: key, name: strings.ReplaceAll(key, "_", "-"), values: values}
}

// v1Meaning is what a parameter of version 1 is in version 2.
type v1Meaning struct {
	key  string
	form string // text, number, truth, list, or ports
	// words translate the kernel's numbers.
	words []string
}

var bondModes = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}

// bondParams are the bonding driver's parameters, with bond- before them.
var bondParams = map[string]v1Meaning{
	"bond-mode":              {"mode", "text", bondModes},
	"bond-miimon":            {"mii-monitor-interval", "text", nil},
	"bond-min-links":         {"min-links", "number", nil},
	"bond-lacp-rate":         {"lacp-rate", "text", []string{"slow", "fast"}},
	"bond-xmit-hash-policy":  {"transmit-hash-policy", "text", []string{"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"}},
	"bond-ad-select":         {"ad-select", "text", []string{"stable", "bandwidth", "count"}},
	"bond-all-slaves-active": {"all-members-active", "truth", nil},
	"bond-arp-interval":      {"arp-interval", "text", nil},
	"bond-arp-ip-target":     {"arp-ip-targets", "list", nil},
	"bond-arp-validate":      {"arp-validate", "text", []string{"none", "active", "backup", "all"}},
	"bond-arp-all-targets":   {"arp-all-targets", "text", []string{"any", "all"}},
	"bond-updelay":           {"up-delay", "text", nil},
	"bond-downdelay":         {"down-delay", "text", nil},
	"bond-fail-over-mac":     {"fail-over-mac-policy", "text", []string{"none", "active", "follow"}},
	"bond-num-grat-arp":      {"gratuitous-arp", "number", nil},
	"bond-num-unsol-na":      {"gratuitous-arp", "number", nil},
	"bond-packets-per-slave": {"packets-per-member", "number", nil},
	"bond-primary":           {"primary", "text", nil},
	"bond-primary-reselect":  {"primary-reselect-policy", "text", []string{"always", "better", "failure"}},
	"bond-resend-igmp":       {"resend-igmp", "number", nil},
	"bond-lp-interval":       {"learn-packet-interval", "text", nil},
}

// bridgeParams are bridge-utils' parameters, with bridge- before them.
var bridgeParams = map[string]v1Meaning{
	"bridge-ageing":     {"ageing-time", "text", nil},
	"bridge-bridgeprio": {"priority", "number", nil},
	"bridge-fd":         {"forward-delay", "text", nil},
	"bridge-hello":      {"hello-time", "text", nil},
	"bridge-maxage":     {"max-age", "text", nil},
	"bridge-pathcost":   {"path-cost", "ports", nil},
	"bridge-portprio":   {"port-priority", "ports", nil},
	"bridge-stp":        {"stp", "truth", nil},
}

// parameters translates what is known, and reports the rest.
func (t *translation) parameters(m *yaml.Node, path string, known map[string]v1Meaning, params v1Params) {
	for _, p := range params {
		at := join(path, p.key)
		meaning, ok := known[p.name]
		if !ok {
			var names []string
			for name := range known {
				names = append(names, name)
			}
			slices.Sort(names)
			scope{t.d, path}.problem(at, "unknown parameter", didYouMean(p.name, names))
			continue
		}
		target := t.child(m, "parameters", path)
		switch meaning.form {
		case "list":
			list := t.node(at, yaml.SequenceNode, "!!seq", "")
			for i, value := range p.values {
				for _, text := range strings.Split(value, ",") {
					list.Content = append(list.Content, t.text(t.valuePath(at, i), strings.TrimSpace(text)))
				}
			}
			t.set(target, meaning.key, list)
		case "ports":
			t.ports(t.child(target, meaning.key, at), at, p.values)
		default:
			if len(p.values) != 1 {
				scope{t.d, path}.problem(at, "has one value", "")
				continue
			}
			t.set(target, meaning.key, t.value(at, meaning, p.values[0]))
		}
	}
}

func (t *translation) value(at string, meaning v1Meaning, value string) *yaml.Node {
	switch meaning.form {
	case "number":
		return t.node(at, yaml.ScalarNode, plainTag(value), value)
	case "truth":
		switch strings.ToLower(value) {
		case "1", "yes", "true", "on":
			return t.truth(at, true)
		case "0", "no", "false", "off":
			return t.truth(at, false)
		}
		return t.text(at, value)
	}
	for i, word := range meaning.words {
		if len(value) == 1 && int(value[0]-'0') == i {
			return t.text(at, word)
		}
	}
	return t.text(at, value)
}

// ports translates "eth0 50", one a port.
func (t *translation) ports(m *yaml.Node, path string, values []string) {
	for i, value := range values {
		at := t.valuePath(path, i)
		fields := strings.Fields(value)
		if len(fields) != 2 {
			scope{t.d, path}.problem(at, quote(value)+" is not an interface and a number", "such as eth0 50")
			continue
		}
		t.set(m, fields[0], t.node(at, yaml.ScalarNode, plainTag(fields[1]), fields[1]))
	}
}

func (t *translation) valuePath(path string, i int) string {
	if at := index(path, i); t.d.places[at] != (place{}) {
		return at
	}
	return path
}

// plainTag is !!int for digits, and !!str for what will be refused.
func plainTag(text string) string {
	if onlyDigits.MatchString(text) {
		return "!!int"
	}
	return "!!str"
}
