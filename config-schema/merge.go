// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxMergeDepth is deeper than any mapping of the schema. An alias that names
// what it is in has no bottom at all.
const maxMergeDepth = 16

// over lays a value of a later layer over what earlier layers have at its path,
// which may be nothing. Nodes may be named by aliases elsewhere, so that none is
// changed: mappings are made anew, all the way to the first that isn't one. The
// place of a secret is a mapping, and one thing nevertheless. t is the type that
// the value is for, nil when the schema has none.
func (d *decoder) over(base, n *yaml.Node, path string, t reflect.Type, depth int) *yaml.Node {
	n = target(n)
	if n.Kind != yaml.MappingNode || isSecret(t) || depth > maxMergeDepth || !d.spend(n, path) {
		return n
	}
	merged := &yaml.Node{Kind: yaml.MappingNode, Tag: n.Tag, Line: n.Line, Column: n.Column}
	places := map[string]int{} // of values in merged.Content
	if base != nil && base.Kind == yaml.MappingNode {
		merged.Line, merged.Column = base.Line, base.Column
		merged.Content = append(merged.Content, base.Content...)
		for i := 1; i < len(base.Content); i += 2 {
			places[base.Content[i-1].Value] = i
		}
	}
	written := map[string]bool{}
	for _, e := range d.entries(n, path) {
		key, appends := appendKey(e.key)
		at := join(path, key)
		if written[key] {
			d.problem(e.name, at, quote(key)+" and "+quote(key+"+")+" are both given", "remove one")
			continue
		}
		written[key] = true
		i, known := places[key]
		var before *yaml.Node
		if known {
			before = merged.Content[i]
		}
		value := d.over(before, e.node, at, fieldType(t, key), depth+1)
		if appends {
			value = d.appended(before, value, e, at)
		}
		name := e.name
		if appends {
			name = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: name.Line, Column: name.Column}
		}
		if known {
			merged.Content[i-1], merged.Content[i] = name, value
			continue
		}
		merged.Content = append(merged.Content, name, value)
		places[key] = len(merged.Content) - 1
	}
	return merged
}

func isSecret(t reflect.Type) bool {
	return t == reflect.TypeFor[Secret]() || t == reflect.TypeFor[PrivateKey]()
}

// appended adds the items of a key+ to those of earlier layers. A scalar counts
// as a list of one, as it does wherever the schema has a list of strings.
func (d *decoder) appended(base, value *yaml.Node, e entry, path string) *yaml.Node {
	if base == nil || isNull(base) || isNull(value) {
		return value
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Line: value.Line, Column: value.Column}
	for _, n := range []*yaml.Node{base, value} {
		switch n.Kind {
		case yaml.SequenceNode:
			list.Content = append(list.Content, n.Content...)
		case yaml.ScalarNode:
			list.Content = append(list.Content, n)
		default:
			d.problem(e.name, path, "only a list can be appended to another", "remove the +")
			return value
		}
	}
	return list
}

// appendKey splits the + off a key.
func appendKey(key string) (plain string, appends bool) {
	if len(key) < 2 {
		return key, false
	}
	return strings.CutSuffix(key, "+")
}

// target is what an alias names.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// spend counts a node that is looked at, and says whether more may be: with
// aliases, a small file can stand for more than any memory holds.
func (d *decoder) spend(n *yaml.Node, path string) bool {
	if d.budget--; d.budget >= 0 {
		return true
	}
	if d.overflow == 0 {
		d.problem(n, path, "the aliases of the file stand for too much", "write it out")
		d.overflow = len(d.problems)
	}
	return false
}
