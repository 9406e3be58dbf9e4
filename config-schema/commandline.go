// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"reflect"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// wordPrefix begins the words of the kernel command line that are ours. The
// rest is the kernel's, the initrd's or systemd's.
const wordPrefix = "skerry."

// CommandLineLayer returns the layer of the kernel command line, as
// /proc/cmdline has it. Its words are the keys of the section skerry, written as
// paths: skerry.cluster.token=secret. A value is a YAML scalar; a key that comes
// several times makes a list; one without a value is true. Words that hold
// blanks are in double quotes, as the kernel wants it.
func CommandLineLayer(text string) Layer {
	const name = "kernel command line"
	return Layer{Name: name, File: name, Data: []byte(strings.TrimRight(text, "\n")), Form: CommandLine}
}

// word is one word of the command line, with its column.
type word struct {
	text   string
	column int
}

// splitWords splits at blanks outside of double quotes.
func splitWords(text string) []word {
	var words []word
	start, quoted := -1, false
	for i, r := range text {
		blank := !quoted && (r == ' ' || r == '\t' || r == '\n')
		switch {
		case blank && start >= 0:
			words = append(words, word{text[start:i], start})
			start = -1
		case !blank && start < 0:
			start = i
		}
		if r == '"' {
			quoted = !quoted
		}
	}
	if start >= 0 {
		words = append(words, word{text[start:], start})
	}
	for i := range words {
		words[i].column = utf8.RuneCountInString(text[:words[i].column]) + 1
	}
	return words
}

// words makes a tree of the words of the command line.
func (d *decoder) words(text string, layer int) (root *yaml.Node, ok bool) {
	line := stamp(layer, 1)
	node := func(kind yaml.Kind, column int) *yaml.Node {
		return &yaml.Node{Kind: kind, Line: line, Column: column}
	}
	ok = true
	for _, w := range splitWords(text) {
		// The kernel's own programs quote a whole word, too.
		plain := w.text
		if inner, found := strings.CutPrefix(plain, `"`); found && strings.HasPrefix(inner, wordPrefix) {
			plain = strings.TrimSuffix(inner, `"`)
		}
		key, value, valued := strings.Cut(plain, "=")
		if !strings.HasPrefix(key, wordPrefix) {
			continue
		}
		if !valued {
			value = "true"
		}
		scalar, message := wordValue(value)
		if message != "" {
			d.report(Problem{Line: line, Column: w.column, Path: key, Message: message, Hint: "put it in single quotes"})
			ok = false
			continue
		}
		scalar.Line, scalar.Column = line, w.column
		if root == nil {
			root = node(yaml.MappingNode, w.column)
		}
		if !grow(root, wordSteps(key), scalar, node) {
			d.report(Problem{Line: line, Column: w.column, Path: key, Message: "has a value and keys below it", Hint: "remove one of the words"})
			ok = false
		}
	}
	return root, ok
}

// wordValue parses a value. What it was is never repeated: it may be a token.
func wordValue(text string) (scalar *yaml.Node, message string) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, "the value is not a YAML scalar"
	}
	if len(doc.Content) == 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, ""
	}
	if doc.Content[0].Kind != yaml.ScalarNode {
		return nil, "the value is not a YAML scalar"
	}
	return doc.Content[0], ""
}

// wordSteps splits a path at its dots, but for the name of a kernel setting,
// which has dots of its own.
func wordSteps(key string) []string {
	t := reflect.TypeFor[Config]()
	var steps []string
	for {
		step, rest, more := strings.Cut(key, ".")
		if t != nil && t.Kind() == reflect.Map {
			return append(steps, key)
		}
		steps = append(steps, step)
		if !more {
			return steps
		}
		key, t = rest, fieldType(t, step)
	}
}

// TypeOf returns the type that a path such as skerry.cluster.token has in the
// schema, or nil when the schema doesn't know it.
func TypeOf(path string) reflect.Type {
	t := reflect.TypeFor[Config]()
	for step := range strings.SplitSeq(path, ".") {
		t = fieldType(t, step)
	}
	return t
}

// fieldType returns the type of a key of a mapping, or nil.
func fieldType(t reflect.Type, key string) reflect.Type {
	switch {
	case t == nil:
		return nil
	case t.Kind() == reflect.Map, t.Kind() == reflect.Slice && t.Implements(reflect.TypeFor[named]()):
		return t.Elem()
	case t.Kind() != reflect.Struct:
		return nil
	}
	for i := range t.NumField() {
		field := t.Field(i)
		switch field.Tag.Get("yaml") {
		case key:
			if field.Type.Kind() == reflect.Pointer {
				return field.Type.Elem()
			}
			return field.Type
		case ",inline":
			if inner := fieldType(field.Type, key); inner != nil {
				return inner
			}
		}
	}
	return nil
}

// grow puts a value where the steps lead to. It refuses to make a mapping of a
// value, and the other way round.
func grow(n *yaml.Node, steps []string, value *yaml.Node, node func(yaml.Kind, int) *yaml.Node) bool {
	last := len(steps) == 1
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != steps[0] {
			continue
		}
		child := n.Content[i+1]
		switch {
		case !last:
			return child.Kind == yaml.MappingNode && grow(child, steps[1:], value, node)
		case child.Kind == yaml.MappingNode:
			return false
		case child.Kind == yaml.ScalarNode:
			list := node(yaml.SequenceNode, child.Column)
			list.Content = []*yaml.Node{child, value}
			n.Content[i+1] = list
		default:
			child.Content = append(child.Content, value)
		}
		return true
	}
	name := node(yaml.ScalarNode, value.Column)
	name.Tag, name.Value = "!!str", steps[0]
	if last {
		n.Content = append(n.Content, name, value)
		return true
	}
	child := node(yaml.MappingNode, value.Column)
	n.Content = append(n.Content, name, child)
	return grow(child, steps[1:], value, node)
}
