// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder turns YAML nodes into the package's types. Unlike yaml.Unmarshal it
// goes on after a problem, and remembers where everything was, so that checks of
// values can point at them.
type decoder struct {
	layers   []Layer
	problems Problems
	places   map[string]place
	shapes   map[reflect.Type]*shape
	// budget is how many nodes may still be looked at; overflow is the number of
	// problems when it was spent, and nothing after that is worth reporting.
	budget, overflow int
	// lenient passes over keys that are unknown or have no value: in files that
	// programs write.
	lenient bool
	// named counts the things with names so far, in the order of the file.
	named int
	// origins and written lead from a translated node, and from its path, to
	// what the user wrote: see translation.
	origins map[*yaml.Node]string
	written map[string]string
	// plainSecrets refuses secrets given by reference, where nobody would read
	// them.
	plainSecrets bool
}

// place is where a path was found, and whether its value could be decoded.
type place struct {
	line, column int
	unsound      bool
}

// aliasFactor bounds how many times its own size a file may stand for.
const aliasFactor = 10

// maxPath bounds the path in a problem, in bytes.
const maxPath = 200

// nodeDecoder is a type with its own way to be written.
type nodeDecoder interface {
	decodeNode(d *decoder, n *yaml.Node, path string)
}

// checker is a type whose values can be wrong. check runs after decoding.
type checker interface{ check(s scope) }

// refuser is a mapping that knows keys it doesn't implement. It returns no
// message for a key it has never heard of.
type refuser interface {
	unsupported(key string) (message, hint string)
}

func newDecoder(layers []Layer) *decoder {
	return &decoder{layers: layers, places: map[string]place{}, shapes: map[reflect.Type]*shape{},
		origins: map[*yaml.Node]string{}, written: map[string]string{}}
}

func countNodes(n *yaml.Node) int {
	count := 1
	for _, child := range n.Content {
		count += countNodes(child)
	}
	return count
}

func (d *decoder) report(p Problem) {
	p.Path = d.writtenPath(p.Path)
	if len(p.Path) > maxPath {
		p.Path = strings.ToValidUTF8(p.Path[:maxPath], "") + "…"
	}
	p.Line, p.Column = max(p.Line, 1), max(p.Column, 1)
	d.problems = append(d.problems, p)
}

// problem reports at a node, and marks the path as unsound so that no check
// complains about the same value again.
func (d *decoder) problem(n *yaml.Node, path, message, hint string) {
	at := d.places[path]
	if n.Line > 0 {
		at.line, at.column = n.Line, n.Column
	}
	at.unsound = true
	d.places[path] = at
	d.report(Problem{Line: at.line, Column: at.column, Path: path, Message: message, Hint: hint})
}

// value decodes a node into the variable that v points to.
func (d *decoder) value(n *yaml.Node, path string, v any) {
	d.decode(n, path, reflect.ValueOf(v).Elem())
}

func (d *decoder) decode(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if !d.spend(n, path) {
		return
	}
	if _, known := d.places[path]; !known {
		d.places[path] = place{line: n.Line, column: n.Column}
	}
	if origin, translated := d.origins[n]; translated {
		d.written[path] = origin
	}
	if isNull(n) {
		d.problem(n, path, "has no value", "remove the key or give it a value")
		return
	}
	if custom, ok := v.Addr().Interface().(nodeDecoder); ok {
		custom.decodeNode(d, n, path)
	} else {
		d.plain(n, path, v)
	}
	if c, ok := v.Addr().Interface().(checker); ok && !d.places[path].unsound {
		c.check(scope{d, path})
	}
}

func (d *decoder) plain(n *yaml.Node, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, path, v.Elem())
	case reflect.Struct:
		d.structure(n, path, v.Addr().Interface())
	case reflect.Slice:
		d.list(n, path, v)
	case reflect.Map:
		d.table(n, path, v)
	case reflect.String:
		if text, ok := d.text(n, path, false); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		d.boolean(n, path, v)
	case reflect.Int:
		var number int64
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Decode(&number) != nil || v.OverflowInt(number) {
			d.wrongType(n, path, "a whole number", false)
			return
		}
		v.SetInt(number)
	default:
		panic(fmt.Sprintf("configschema: no decoding for %s at %s", v.Type(), path))
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind == yaml.ScalarNode && d.isWord(n) {
		n = &yaml.Node{Kind: yaml.SequenceNode, Line: n.Line, Column: n.Column, Content: []*yaml.Node{n}}
	}
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, path, "a list", false)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, child := range n.Content {
		if d.overflow > 0 {
			return
		}
		d.decode(child, index(path, i), v.Index(i))
	}
}

// isWord says whether a node is from the command line, where there is no other
// way to write a list of one.
func (d *decoder) isWord(n *yaml.Node) bool {
	layer, _ := unstamp(n.Line)
	return layer < len(d.layers) && d.layers[layer].Form == CommandLine
}

// strings decodes a list of strings that may be written as one string.
func (d *decoder) strings(n *yaml.Node, path string) []string {
	if n.Kind == yaml.ScalarNode {
		if text, ok := d.text(n, path, false); ok {
			return []string{text}
		}
		return nil
	}
	var list []string
	v := reflect.ValueOf(&list).Elem()
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, path, "a string or a list of strings", false)
		return nil
	}
	d.list(n, path, v)
	return list
}

// text decodes a string. Nothing else is taken for one: 0123 or 1e3 would not
// mean the same to the next program that reads the file.
func (d *decoder) text(n *yaml.Node, path string, secret bool) (string, bool) {
	if n.Kind == yaml.ScalarNode {
		switch n.ShortTag() {
		case "!!str":
			return n.Value, true
		case "!!binary":
			var text string
			if n.Decode(&text) == nil {
				return text, true
			}
			d.problem(n, path, "is not base64", "")
			return "", false
		}
	}
	d.wrongType(n, path, "a string", secret)
	return "", false
}

// boolean takes the words of YAML 1.1 too, which cloud-init reads.
func (d *decoder) boolean(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on":
			v.SetBool(true)
			return
		case "false", "no", "off":
			v.SetBool(false)
			return
		}
	}
	d.wrongType(n, path, "true or false", false)
}

func (d *decoder) wrongType(n *yaml.Node, path, want string, secret bool) {
	var got, hint string
	switch {
	case n.Kind == yaml.MappingNode:
		got = "a mapping"
	case n.Kind == yaml.SequenceNode:
		got = "a list"
	case secret: // the value must not be repeated
		got = "a value of another type"
		hint = "put it in quotes"
	default:
		got = describe(n)
	}
	if n.Kind == yaml.ScalarNode && !secret {
		switch {
		case want == "a string" && n.ShortTag() != "!!str":
			hint = "put it in quotes: " + quote(n.Value)
		case want == "a list":
			hint = "begin each item with -"
		case n.ShortTag() == "!!str" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
			hint = "remove the quotes"
		}
	}
	d.problem(n, path, "expected "+want+", got "+got, hint)
}

func describe(n *yaml.Node) string {
	switch value := clip(n.Value); n.ShortTag() {
	case "!!str":
		return "the string " + quote(value)
	case "!!int", "!!float":
		return "the number " + value
	case "!!bool":
		return "the truth value " + value
	case "!!timestamp":
		return "the date " + value
	default:
		return "a value tagged " + clip(n.ShortTag())
	}
}

// structure decodes a mapping into the struct that v points to.
func (d *decoder) structure(n *yaml.Node, path string, v any) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of keys and values", false)
		return
	}
	target := reflect.ValueOf(v).Elem()
	s := d.shape(target.Type())
	for _, e := range d.entries(n, path) {
		field, ok := s.fields[e.key]
		if !ok {
			d.unknownKey(e, path, v, s.keys)
			continue
		}
		at := join(path, e.key)
		// The key's own place is where a missing value is reported.
		if isNull(e.node) {
			if !d.lenient {
				d.problem(e.name, at, "has no value", "remove the key or give it a value")
			}
			continue
		}
		d.decode(e.node, at, target.FieldByIndex(field))
		d.checkEnum(at, target.FieldByIndex(field), s.enums[e.key])
	}
	for _, key := range s.needed {
		if _, ok := d.places[join(path, key)]; !ok {
			d.report(Problem{Line: n.Line, Column: n.Column, Path: path, Message: "the key " + quote(key) + " is missing"})
		}
	}
}

func (d *decoder) checkEnum(at string, v reflect.Value, allowed []string) {
	if len(allowed) == 0 || d.places[at].unsound {
		return
	}
	switch v.Kind() {
	case reflect.String:
		d.oneOf(at, v.String(), allowed)
	case reflect.Slice:
		for i := range v.Len() {
			item := index(at, i)
			if _, ok := d.places[item]; !ok {
				item = at // one string held them all
			}
			d.oneOf(item, v.Index(i).String(), allowed)
		}
	}
}

func (d *decoder) oneOf(at, value string, allowed []string) {
	if slices.Contains(allowed, value) {
		return
	}
	scope{d, at}.problem(at, quote(value)+" is not one of "+strings.Join(allowed, ", "), didYouMean(value, allowed))
}

func (d *decoder) unknownKey(e entry, path string, v any, keys []string) {
	if d.lenient {
		return
	}
	p := Problem{Line: e.name.Line, Column: e.name.Column, Path: join(path, e.key), Message: "unknown key"}
	if r, ok := v.(refuser); ok {
		if message, hint := r.unsupported(e.key); message != "" {
			p.Message, p.Hint = message, hint
			d.report(p)
			return
		}
	}
	p.Hint = didYouMean(e.key, keys)
	d.report(p)
}
