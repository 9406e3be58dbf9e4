// SPDX-License-Identifier: Apache-2.0

package k3os

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// complete adds what a machine can't do without and k3OS got elsewhere.
func (m *migration) complete() {
	agent := m.cluster.get("server") != nil || m.role != nil && m.role.Value == string(configschema.RoleAgent)
	if !agent {
		return
	}
	for _, needed := range []struct{ key, value string }{{"server", "https://change-me:6443"}, {"token", "change-me"}} {
		if m.cluster.get(needed.key) != nil || needed.key == "token" && m.cluster.get("token-file") != nil {
			continue
		}
		m.cluster.set(needed.key, text(needed.value))
		m.note(origin{key: "k3os." + map[string]string{"server": "server_url", "token": "token"}[needed.key]}, false,
			"an agent needs it, and the file doesn't have it: replace %s in skerry.cluster.%s", needed.value, needed.key)
		m.finish()
	}
}

// refuse takes out of the result what the schema doesn't accept, one by one,
// with the schema's words for the reason. It returns what is left.
func (m *migration) refuse() ([]byte, error) {
	for {
		data, err := m.encode()
		if err != nil {
			return nil, err
		}
		problems := configschema.Validate("the result", data)
		if len(problems) == 0 {
			return data, nil
		}
		p := problems[0]
		from, ok := m.remove(p.Path)
		if !ok {
			return nil, fmt.Errorf("migrate %s: %s", m.file, p)
		}
		reason := p.Message
		if p.Hint != "" {
			reason += " (" + p.Hint + ")"
		}
		if !m.holds(m.root, from) {
			m.notes = slices.DeleteFunc(m.notes, func(n Note) bool { return n.Carried && n.Line == from.line && n.Key == from.key })
		}
		m.note(from, false, "%s: %s", p.Path, reason)
	}
}

// holds says whether anything from a key is still in the result.
func (m *migration) holds(n *yaml.Node, from origin) bool {
	if known, ok := m.origins[n]; ok && known == from {
		return true
	}
	return slices.ContainsFunc(n.Content, func(child *yaml.Node) bool { return m.holds(child, from) })
}

var step = regexp.MustCompile(`^\.?([A-Za-z0-9_+-]+)|^\[(\d+)\]|^\[("(?:[^"\\]|\\.)*")\]`)

// remove deletes what is at a path of the result, or the nearest above it that
// is there. A file to write goes as a whole.
func (m *migration) remove(path string) (from origin, ok bool) {
	n := m.root
	take := func() {}
	for len(path) > 0 {
		match := step.FindStringSubmatch(path)
		if match == nil {
			break
		}
		at := find(n, match)
		if at < 0 {
			break
		}
		parent := n
		n, path = parent.Content[at], path[len(match[0]):]
		if known, found := m.origins[n]; found {
			from = known
		}
		_, whole := m.origins[n]
		take, ok = func() {
			first := at
			if parent.Kind == yaml.MappingNode {
				first-- // the key goes, too
			}
			parent.Content = append(parent.Content[:first:first], parent.Content[at+1:]...)
		}, true
		if whole && parent.Kind == yaml.SequenceNode {
			break
		}
	}
	if from == (origin{}) {
		from = m.within(n)
	}
	take()
	m.prune(m.root)
	return from, ok
}

// within returns the origin of the first value below a node that has one.
func (m *migration) within(n *yaml.Node) origin {
	if from, ok := m.origins[n]; ok {
		return from
	}
	for _, child := range n.Content {
		if from := m.within(child); from != (origin{}) {
			return from
		}
	}
	return origin{}
}

// find returns the place of the value that a step of a path leads to, or -1.
func find(n *yaml.Node, match []string) int {
	if match[2] != "" {
		i, err := strconv.Atoi(match[2])
		if err != nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
			return -1
		}
		return i
	}
	key := match[1]
	if match[3] != "" {
		key, _ = strconv.Unquote(match[3]) // as the pattern says
	}
	if n.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i + 1
		}
	}
	return -1
}

// prune removes the keys of lists and mappings that have become empty.
func (m *migration) prune(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		value := n.Content[i+1]
		m.prune(value)
		if value.Kind == yaml.ScalarNode || len(value.Content) > 0 {
			kept = append(kept, n.Content[i], value)
		}
	}
	n.Content = kept
}
