// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// entry is a key of a mapping with its value.
type entry struct {
	key        string
	name, node *yaml.Node
}

// entries lists a mapping in order, reports keys that come twice, and resolves
// merge keys (<<), whose entries never replace explicit ones.
func (d *decoder) entries(n *yaml.Node, path string) []entry {
	list := make([]entry, 0, len(n.Content)/2)
	lines := make(map[string]int, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, node := n.Content[i], n.Content[i+1]
		if name.Kind == yaml.AliasNode {
			name = name.Alias
		}
		if name.Kind != yaml.ScalarNode {
			d.problem(name, path, "a key must be a word", "")
			continue
		}
		if name.ShortTag() == "!!merge" {
			merged = append(merged, node)
			continue
		}
		if first, twice := lines[name.Value]; twice {
			_, first = unstamp(first)
			d.report(Problem{Line: name.Line, Column: name.Column, Path: join(path, name.Value),
				Message: "duplicate key", Hint: fmt.Sprintf("it is already on line %d", first)})
			continue
		}
		lines[name.Value] = name.Line
		list = append(list, entry{name.Value, name, node})
	}
	for _, node := range merged {
		for _, e := range d.merge(node, path) {
			if _, explicit := lines[e.key]; !explicit {
				lines[e.key] = e.name.Line
				list = append(list, e)
			}
		}
	}
	return list
}

// merge returns the entries of the mapping, or mappings, a merge key names.
// Merge keys inside those are refused: they could name each other in a circle.
func (d *decoder) merge(n *yaml.Node, path string) []entry {
	sources := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sources = n.Content
	}
	var list []entry
	for _, source := range sources {
		if source.Kind == yaml.AliasNode {
			source = source.Alias
		}
		nested := source.Kind == yaml.MappingNode && slices.ContainsFunc(source.Content, func(c *yaml.Node) bool {
			return c.Kind == yaml.ScalarNode && c.ShortTag() == "!!merge"
		})
		if source.Kind != yaml.MappingNode || nested {
			d.problem(n, path, "a merge key (<<) names mappings without merge keys", "")
			continue
		}
		list = append(list, d.entries(source, path)...)
	}
	return list
}

// table decodes a mapping whose keys are names of the user's choosing.
func (d *decoder) table(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of names and values", false)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range d.entries(n, path) {
		at := join(path, e.key)
		if e.node.Kind == yaml.ScalarNode && e.node.ShortTag() == "!!null" {
			d.problem(e.name, at, "has no value", "remove the key or give it a value")
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.node, at, value)
		v.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), value)
	}
}
