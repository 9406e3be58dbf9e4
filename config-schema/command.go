// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Command is something to run: a string for sh -c, or a list of a program and
// its arguments, which is run as it is.
type Command []string

// shell is what a string is run with.
var shell = []string{"/bin/sh", "-c"}

func (c *Command) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode {
		text, ok := d.text(n, path, false)
		switch {
		case !ok:
		case strings.TrimSpace(text) == "":
			d.problem(n, path, "is empty", "remove it")
		case strings.Contains(text, "\x00"):
			d.problem(n, path, "holds a zero byte", "")
		default:
			*c = append(append(Command{}, shell...), text)
		}
		return
	}
	if len(n.Content) == 0 {
		d.problem(n, path, "is empty", "remove it")
		return
	}
	for i, item := range n.Content {
		arg, ok := d.argument(item, index(path, i))
		if !ok {
			return
		}
		*c = append(*c, arg)
	}
	if strings.TrimSpace((*c)[0]) == "" {
		d.problem(n, path, "has no program", "the first item is the program")
	}
}

func (c Command) written() any {
	if len(c) == 3 && slices.Equal(c[:2], shell) {
		return c[2]
	}
	return []string(c)
}

// argument reads one word of a command. People write numbers there, and a
// program gets text anyway: what is written is what it gets.
func (d *decoder) argument(n *yaml.Node, at string) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode {
		switch n.ShortTag() {
		case "!!int", "!!float", "!!bool":
			return n.Value, true
		}
	}
	text, ok := d.text(n, at, false)
	if ok && strings.Contains(text, "\x00") {
		d.problem(n, at, "holds a zero byte", "")
		return "", false
	}
	return text, ok
}
