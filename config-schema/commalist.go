// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// CommaList is a list that may also be written as one string, and whose strings
// may hold several values separated by commas, as K3s' flags and cloud-init's
// groups may.
type CommaList []string

func (l *CommaList) decodeNode(d *decoder, n *yaml.Node, path string) {
	texts := d.strings(n, path)
	origins := make([]place, len(texts))
	for i := range texts {
		origins[i] = d.places[index(path, i)]
	}
	for i, text := range texts {
		if origins[i].unsound {
			continue
		}
		for value := range strings.SplitSeq(text, ",") {
			value = strings.TrimSpace(value)
			if value == "" {
				d.problem(n, path, "holds an empty value", "")
				continue
			}
			if n.Kind == yaml.SequenceNode {
				// Checks count the values, which are more than the items
				// once one has been split.
				d.places[index(path, len(*l))] = origins[i]
			}
			*l = append(*l, value)
		}
	}
}

// ArgList is a list of arguments for a program, which may also be written as one
// string. Commas belong to the argument.
type ArgList []string

func (l *ArgList) decodeNode(d *decoder, n *yaml.Node, path string) {
	*l = d.strings(n, path)
}
