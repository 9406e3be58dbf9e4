// SPDX-License-Identifier: Apache-2.0

package k3os

import (
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// from remembers where a value of the result is from.
func (m *migration) from(n *yaml.Node, o origin) *yaml.Node {
	m.origins[n] = o
	return n
}

func (m *migration) texts(list []string, o origin) []*yaml.Node {
	nodes := make([]*yaml.Node, len(list))
	for i, value := range list {
		nodes[i] = m.from(text(value), o)
	}
	return nodes
}

func (m *migration) sshKeys(n *yaml.Node, o origin) {
	for _, key := range m.scalars(n, o) {
		source, user, _ := strings.Cut(key, ":")
		switch {
		case source == "github":
			m.imports = append(m.imports, m.from(text("gh:"+user), o))
		case source == "gitlab":
			m.imports = append(m.imports, m.from(text("https://gitlab.com/"+user+".keys"), o))
		case strings.HasPrefix(user, "//"):
			m.imports = append(m.imports, m.from(text(key), o))
		default:
			m.keys = append(m.keys, m.from(text(key), o))
		}
	}
	m.note(o, true, "to the user rancher in users, who keeps the name; what is to be fetched as ssh_import_id")
}

func (m *migration) bootCommands(n *yaml.Node, o origin) {
	m.bootcmd = append(m.bootcmd, m.texts(m.scalars(n, o), o)...)
	m.note(o, true, "as bootcmd; a command that fails doesn't keep the next from running")
}

func (m *migration) runCommands(n *yaml.Node, o origin) {
	m.runcmd = m.texts(m.scalars(n, o), o)
	m.note(o, true, "as runcmd, which runs once for an instance, not at each boot; a command that fails doesn't keep the next from running")
}

// settle carries a mapping of strings over as it is.
func (m *migration) settle(to *settings, n *yaml.Node, o origin) {
	for name, value := range m.pairs(n, o) {
		to.set(name, m.from(text(value), o))
	}
}

func (m *migration) setEnvironment(n *yaml.Node, o origin) {
	m.settle(&m.environment, n, o)
	m.note(o, true, "as skerry.environment")
}

// fileKeys are those of a file to write, which are called the same here.
var fileKeys = []key{{name: "encoding"}, {name: "content"}, {name: "owner"}, {name: "path"}, {name: "permissions"}}

func (m *migration) writeFiles(n *yaml.Node, o origin) {
	if n.Kind != yaml.SequenceNode {
		m.note(o, false, "is not a list")
		return
	}
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		at := origin{item.Line, o.key}
		if item.Kind != yaml.MappingNode {
			m.note(at, false, "is not a file")
			continue
		}
		var file settings
		for i := 0; i+1 < len(item.Content); i += 2 {
			known := lookup(fileKeys, item.Content[i].Value)
			if known == nil {
				m.note(origin{item.Content[i].Line, o.key + "." + item.Content[i].Value}, false, "k3OS doesn't know the key, and passed over it too")
				continue
			}
			value, ok := m.scalar(item.Content[i+1], at)
			switch {
			case !ok || value == "" && known.name != "content":
			default:
				file.set(known.name, text(value))
			}
		}
		m.files = append(m.files, m.from(mapping(file), at))
		m.note(at, true, "as write_files, at each boot")
	}
}

func (m *migration) setHostname(n *yaml.Node, o origin) {
	if value, ok := m.scalar(n, o); ok {
		m.hostname = m.from(text(value), o)
		m.note(o, true, "as hostname")
	}
}

func (m *migration) setModules(n *yaml.Node, o origin) {
	m.modules = m.texts(m.scalars(n, o), o)
	m.note(o, true, "as skerry.modules")
}

func (m *migration) setSysctls(n *yaml.Node, o origin) {
	m.settle(&m.sysctls, n, o)
	m.note(o, true, "as skerry.sysctls")
}

// pairs goes through a mapping of strings in its order.
func (m *migration) pairs(n *yaml.Node, o origin) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		if n.Kind != yaml.MappingNode {
			m.note(o, false, "is not a mapping of names and values")
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			value := n.Content[i+1]
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			if value.Kind != yaml.ScalarNode {
				m.note(origin{value.Line, o.key + "." + n.Content[i].Value}, false, "is not a string")
				continue
			}
			if !yield(n.Content[i].Value, value.Value) {
				return
			}
		}
	}
}

func (m *migration) ntpServers(n *yaml.Node, o origin) {
	m.ntp = m.texts(m.scalars(n, o), o)
	m.note(o, true, "as ntp.servers")
}

// setPassword takes what k3OS takes for a hash, or else the password itself. It
// is never repeated.
func (m *migration) setPassword(n *yaml.Node, o origin) {
	value, ok := m.scalar(n, o)
	if !ok {
		return
	}
	if !strings.HasPrefix(value, "$") {
		m.plainPassword = m.from(text(value), o)
		m.note(o, true, "as plain_text_passwd of the user rancher; a hash, as `openssl passwd -6` prints, in passwd is better")
		return
	}
	m.password = m.from(text(value), o)
	m.note(o, true, "as passwd of the user rancher")
}

func (m *migration) serverURL(n *yaml.Node, o origin) {
	if value, ok := m.scalar(n, o); ok {
		m.cluster.set("server", m.from(text(value), o))
		m.note(o, true, "as skerry.cluster.server")
	}
}

func (m *migration) setToken(n *yaml.Node, o origin) {
	if value, ok := m.scalar(n, o); ok {
		m.cluster.set("token", m.from(text(value), o))
		m.note(o, true, "as skerry.cluster.token")
	}
}

func (m *migration) labels(n *yaml.Node, o origin) {
	for name, value := range m.pairs(n, o) {
		m.cluster.add("node-label", m.from(text(name+"="+value), o))
	}
	m.note(o, true, "as skerry.cluster.node-label")
}

func (m *migration) taints(n *yaml.Node, o origin) {
	m.cluster.add("node-taint", m.texts(m.scalars(n, o), o)...)
	m.note(o, true, "as skerry.cluster.node-taint")
}

// shortFlags are other names of K3s' flags.
var shortFlags = map[string]string{"t": "token", "s": "server", "d": "data-dir", "no-deploy": "disable", "cluster-secret": "token"}

// k3sArgs turns the command line of k3s into keys of its config.yaml.
func (m *migration) k3sArgs(n *yaml.Node, o origin) {
	args := m.scalars(n, o)
	if len(args) == 1 {
		args = strings.Fields(args[0])
	}
	if len(args) > 0 && (args[0] == "server" || args[0] == "agent") {
		m.role = m.from(text(args[0]), o)
		m.note(o, true, "%s as skerry.role", args[0])
		args = args[1:]
	}
	for len(args) > 0 {
		name, value, valued := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		if !strings.HasPrefix(args[0], "-") {
			// It may be the value of a flag that k3s has given up.
			m.note(o, false, "an argument that belongs to no flag")
			args = args[1:]
			continue
		}
		args = args[1:]
		if long, ok := shortFlags[name]; ok {
			name = long
		}
		kind := reflect.String
		if t := configschema.TypeOf("skerry.cluster." + name); t != nil {
			kind = t.Kind()
		}
		if !valued && kind != reflect.Bool && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			value, valued, args = args[0], true, args[1:]
		}
		if !valued {
			value, kind = "true", reflect.Bool
		}
		m.k3sFlag(name, value, kind, o)
	}
}

func (m *migration) k3sFlag(name, value string, kind reflect.Kind, o origin) {
	at := origin{o.line, o.key + " --" + name}
	node := text(value)
	if kind == reflect.Bool || kind == reflect.Int {
		node = plain(value)
	}
	m.from(node, at)
	if kind == reflect.Slice {
		m.cluster.add(name, node)
	} else {
		m.cluster.set(name, node)
	}
	m.note(at, true, "as skerry.cluster.%s", name)
}
