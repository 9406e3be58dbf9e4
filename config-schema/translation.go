// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// translation rewrites a network that was described in another form into
// version 2, node by node, so that one set of checks judges all forms. Each node
// keeps the place and the path of what it was made from: problems are reported
// where the user wrote, not where we did.
type translation struct {
	d    *decoder
	root *yaml.Node
	// interfaces are the mappings of the interfaces by name, names their order.
	interfaces map[string]*yaml.Node
	names      []string
	made       int
}

// maxTranslated bounds the nodes that a translation makes: name servers are
// multiplied by interfaces.
const maxTranslated = 20000

func newTranslation(d *decoder) *translation {
	return &translation{d: d, root: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}, interfaces: map[string]*yaml.Node{}}
}

// full says that nothing more is translated.
func (t *translation) full() bool { return t.made >= maxTranslated }

// decode judges the translated network and turns it into the model.
func (t *translation) decode(path string, network *Network) {
	if t.full() {
		return // and that is a problem
	}
	t.d.budget += aliasFactor * countNodes(t.root)
	t.d.lenient = false
	t.d.value(t.root, path, network)
}

func (t *translation) node(path string, kind yaml.Kind, tag, value string) *yaml.Node {
	at, ok := t.d.places[path]
	for above := path; !ok && above != ""; at, ok = t.d.places[above] {
		above = above[:max(0, strings.LastIndexAny(above, ".["))]
	}
	if t.made++; t.made == maxTranslated {
		t.d.report(Problem{Line: at.line, Column: at.column, Path: path, Message: "the file describes too much", Hint: "no machine has so many interfaces"})
	}
	n := &yaml.Node{Kind: kind, Tag: tag, Value: value, Line: at.line, Column: at.column}
	t.d.origins[n] = path
	return n
}

func (t *translation) text(path, value string) *yaml.Node {
	return t.node(path, yaml.ScalarNode, "!!str", value)
}

func (t *translation) number(path string, value int) *yaml.Node {
	return t.node(path, yaml.ScalarNode, "!!int", strconv.Itoa(value))
}

func (t *translation) truth(path string, value bool) *yaml.Node {
	return t.node(path, yaml.ScalarNode, "!!bool", strconv.FormatBool(value))
}

func (t *translation) mapping(path string) *yaml.Node {
	return t.node(path, yaml.MappingNode, "!!map", "")
}

// define adds an interface to a section such as ethernets.
func (t *translation) define(section, name, path string) *yaml.Node {
	if t.interfaces[name] != nil {
		scope{t.d, ""}.problem(path, quote(name)+" is defined twice", "merge the two")
	}
	m := t.mapping(path)
	t.set(t.child(t.root, section, path), name, m)
	t.interfaces[name] = m
	t.names = append(t.names, name)
	return m
}

// set sets a key of a mapping. The first one stays: of several subnets with
// DHCP, one is enough.
func (t *translation) set(m *yaml.Node, key string, value *yaml.Node) {
	if t.full() || lookUp(m, key) != nil {
		return
	}
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: value.Line, Column: value.Column}
	m.Content = append(m.Content, name, value)
}

// child returns the mapping below a key, and makes it when it isn't there.
func (t *translation) child(m *yaml.Node, key, path string) *yaml.Node {
	child := lookUp(m, key)
	if child == nil {
		child = t.mapping(path)
		t.set(m, key, child)
	}
	return child
}

// push adds an item to the list below a key. A scalar that is already in the
// list isn't added again.
func (t *translation) push(m *yaml.Node, key, path string, item *yaml.Node) {
	list := lookUp(m, key)
	if list == nil {
		list = t.node(path, yaml.SequenceNode, "!!seq", "")
		t.set(m, key, list)
	}
	if t.full() {
		return
	}
	for _, other := range list.Content {
		if item.Kind == yaml.ScalarNode && other.Value == item.Value {
			return
		}
	}
	list.Content = append(list.Content, item)
}

// resolvers adds name servers or search domains to an interface.
func (t *translation) resolvers(m *yaml.Node, kind, path string, values []string) {
	for i, text := range values {
		if t.full() {
			return
		}
		at := index(path, i)
		if _, ok := t.d.places[at]; !ok {
			at = path // one string held them all
		}
		for _, value := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
			t.push(t.child(m, "nameservers", path), kind, path, t.text(at, value))
		}
	}
}

// everywhere adds name servers that belong to no interface in particular to all
// that lead anywhere.
func (t *translation) everywhere(kind, path string, values []string) {
	for _, name := range t.names {
		if t.full() {
			return
		}
		m := t.interfaces[name]
		for _, key := range []string{"addresses", "dhcp4", "dhcp6", "accept-ra"} {
			if lookUp(m, key) != nil {
				t.resolvers(m, kind, path, values)
				break
			}
		}
	}
}

func lookUp(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// writtenPath returns the path as the user wrote it: of a translated value, that
// of what it, or the nearest thing around it, was made from.
func (d *decoder) writtenPath(path string) string {
	if len(d.written) == 0 {
		return path
	}
	for above := path; above != ""; above = above[:max(0, strings.LastIndexAny(above, ".["))] {
		if origin, ok := d.written[above]; ok {
			return origin
		}
	}
	return path
}
