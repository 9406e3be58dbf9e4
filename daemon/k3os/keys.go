// SPDX-License-Identifier: Apache-2.0

package k3os

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// key is one that k3OS knows.
type key struct {
	name string
	// carry puts a value into the result, and tells what it did.
	carry func(m *migration, n *yaml.Node, o origin)
	// keys are those of a section, which has no value of its own.
	keys []key
	// lost says why the key has no place in a cloud-config.
	lost string
}

// The keys of k3OS, in the order of its documentation.
var (
	topKeys = []key{
		{name: "ssh_authorized_keys", carry: (*migration).sshKeys},
		{name: "write_files", carry: (*migration).writeFiles},
		{name: "hostname", carry: (*migration).setHostname},
		{name: "init_cmd", carry: (*migration).bootCommands},
		{name: "boot_cmd", carry: (*migration).bootCommands},
		{name: "run_cmd", carry: (*migration).runCommands},
		{name: "k3os", keys: k3osKeys},
	}
	k3osKeys = []key{
		{name: "data_sources", lost: "the machine finds its data source by itself"},
		{name: "modules", carry: (*migration).setModules},
		{name: "sysctls", carry: (*migration).setSysctls},
		{name: "ntp_servers", carry: (*migration).ntpServers},
		{name: "dns_nameservers", lost: "name servers belong to the network: use network-config, or DHCP"},
		{name: "wifi", lost: "Wi-Fi isn't in the image"},
		{name: "password", carry: (*migration).setPassword},
		{name: "server_url", carry: (*migration).serverURL},
		{name: "token", carry: (*migration).setToken},
		{name: "labels", carry: (*migration).labels},
		{name: "k3s_args", carry: (*migration).k3sArgs},
		{name: "environment", carry: (*migration).setEnvironment},
		{name: "taints", carry: (*migration).taints},
		{name: "install", lost: "k3OS' installer is not here: the image is written to the disk as it is"},
	}
)

// section goes through a mapping of the k3OS file.
func (m *migration) section(n *yaml.Node, path string, keys []key) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		m.note(origin{n.Line, strings.TrimSuffix(path, ".")}, false, "is not a mapping of keys and values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		written, value := n.Content[i].Value, n.Content[i+1]
		known := lookup(keys, written)
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		o := origin{n.Content[i].Line, path + written}
		if known == nil {
			m.note(o, false, "k3OS doesn't know the key, and passed over it too")
			continue
		}
		o.key = path + known.name
		switch {
		case seen[known.name]:
			m.note(o, false, "is in the file twice: the first is used")
		case known.keys != nil:
			m.section(value, o.key+".", known.keys)
		case known.lost != "":
			m.note(o, false, "%s", known.lost)
		case value.Kind == yaml.ScalarNode && value.ShortTag() == "!!null":
			m.note(o, false, "has no value")
		default:
			known.carry(m, value, o)
		}
		seen[known.name] = true
	}
}

// lookup finds a key however it is written: k3OS takes snake, camel and lower
// case, singular and plural for the same.
func lookup(keys []key, written string) *key {
	for i := range keys {
		if fold(keys[i].name) == fold(written) {
			return &keys[i]
		}
	}
	return nil
}

func fold(name string) string {
	name = strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
	return strings.TrimSuffix(name, "s")
}

// The nodes of the result.

func text(value string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(value)
	return n
}

// plain is a value whose type is that of what it looks like.
func plain(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: value} }

func sequence(items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Content: items}
}

func mapping(s settings) *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Content: s} }

// scalars reads a list of strings, which k3OS also takes as one. What isn't a
// string is taken for how it is written.
func (m *migration) scalars(n *yaml.Node, o origin) []string {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	var list []string
	for _, item := range items {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind != yaml.ScalarNode {
			m.note(o, false, "line %d is not a string", item.Line)
			continue
		}
		list = append(list, item.Value)
	}
	return list
}

// scalar reads one string.
func (m *migration) scalar(n *yaml.Node, o origin) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		m.note(o, false, "is not a string")
		return "", false
	}
	return n.Value, true
}
