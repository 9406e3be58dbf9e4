// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"reflect"

	"gopkg.in/yaml.v3"
)

// Named is a mapping of names to things, in the order of the file.
type Named[T any] []T

// named is a Named of any kind.
type named interface{ nameOf(i int) string }

// bearer is a thing that is defined under its name.
type bearer interface{ setName(name string, order int) }

func (l *Named[T]) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of names and their settings", false)
		return
	}
	entries := d.entries(n, path)
	*l = make(Named[T], len(entries))
	for i, e := range entries {
		at := join(path, e.key)
		if isNull(e.node) {
			d.problem(e.name, at, "has no value", "write "+clip(e.key)+": {} when there is nothing to say")
			continue
		}
		// What is wrong with the thing as a whole is reported at its name.
		if _, known := d.places[at]; !known {
			d.places[at] = place{line: e.name.Line, column: e.name.Column}
		}
		d.named++
		any(&(*l)[i]).(bearer).setName(e.key, d.named)
		d.decode(e.node, at, reflect.ValueOf(&(*l)[i]).Elem())
	}
}

func (l Named[T]) nameOf(i int) string { return any(&l[i]).(interface{ name() string }).name() }

// MarshalYAML writes the mapping that was read.
func (l Named[T]) MarshalYAML() (any, error) {
	out := &yaml.Node{Kind: yaml.MappingNode}
	for i := range l {
		key, value := new(yaml.Node), new(yaml.Node)
		key.SetString(l.nameOf(i))
		if err := value.Encode(l[i]); err != nil {
			return nil, err
		}
		out.Content = append(out.Content, key, value)
	}
	return out, nil
}
