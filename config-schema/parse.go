// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Header is the first line of a cloud-config. Without it a file is something
// else, and cloud-init would ignore it as well.
const Header = "#cloud-config"

// MaxSize is the largest file that is parsed, in bytes.
const MaxSize = 8 << 20

// Parse reads a cloud-config. Either the configuration is returned, or every
// problem the file has. The file name only serves the messages.
func Parse(file string, data []byte) (*Config, Problems) {
	return ParseLayers([]Layer{{Name: file, File: file, Data: data}})
}

// Validate returns every problem of a cloud-config, none when it is right.
func Validate(file string, data []byte) Problems {
	_, problems := Parse(file, data)
	return problems
}

// ParseCluster reads a K3s config.yaml, with the same strictness. It reads what
// EncodeCluster writes.
func ParseCluster(file string, data []byte) (*Cluster, Problems) {
	d := newDecoder([]Layer{{Name: file, File: file, Data: data, Form: K3sConfig}})
	d.plainSecrets = true
	cluster := new(Cluster)
	d.document(cluster)
	if len(d.problems) > 0 {
		return nil, d.sorted()
	}
	return cluster, nil
}

// otherForms are the user-data forms that begin differently, with their names.
var otherForms = []struct{ prefix, name string }{
	{"#!", "a script"},
	{"#include", "a list of URLs to include"},
	{"#cloud-boothook", "a boot hook"},
	{"#cloud-config-archive", "an archive of several configs"},
	{"#cloud-config-jsonp", "a JSON patch"},
	{"#part-handler", "a part handler"},
	{"## template: jinja", "a jinja template"},
	{"Content-Type:", "a MIME message"},
	{"MIME-Version:", "a MIME message"},
	{"\x1f\x8b", "compressed with gzip"},
}

func checkHeader(data []byte) (message, hint string) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	line, _, _ := bytes.Cut(data, []byte("\n"))
	first := strings.TrimRight(string(line), " \t\r")
	if first == Header {
		return "", ""
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return "the file is empty", "its first line must be " + Header
	}
	for _, form := range otherForms {
		if strings.HasPrefix(first, form.prefix) {
			return "this is " + form.name + ", not a cloud-config", "write a file whose first line is " + Header
		}
	}
	if bytes.Contains(data, []byte("\n"+Header)) {
		return "the line " + Header + " must be the first", "remove what is before it"
	}
	return "the first line must be " + Header, ""
}

// document reads the layers, merges them and decodes the result into v. A layer
// that can't be read keeps the others from being judged: what is missing in them
// may be in it.
func (d *decoder) document(v any) {
	if d.tooMany() {
		return
	}
	roots := make([]*yaml.Node, 0, len(d.layers))
	size, readable := 0, true
	for i := range d.layers {
		root, ok := d.read(i)
		readable = readable && ok
		if root == nil {
			continue
		}
		if _, whole := v.(*Config); whole {
			root = d.layers[i].place(root)
		}
		size += countNodes(root)
		roots = append(roots, root)
	}
	if !readable {
		return
	}
	d.budget = aliasFactor * size
	var merged *yaml.Node
	for _, root := range roots {
		if d.layers[0].Form == standalone {
			merged = root
			break
		}
		if merged != nil && target(root).Kind != yaml.MappingNode {
			d.wrongType(root, "", "a mapping of keys and values", false)
			continue
		}
		merged = d.over(merged, root, "", reflect.TypeOf(v).Elem(), 0)
	}
	if merged != nil && d.overflow == 0 {
		d.budget = aliasFactor * size
		d.value(merged, "", v)
	}
	if d.overflow > 0 {
		d.problems = d.problems[:d.overflow]
	}
}

// read parses the YAML of a layer, with the number of the layer in every line.
// The root is nil when there is nothing but comments: every default applies.
func (d *decoder) read(layer int) (root *yaml.Node, ok bool) {
	l := &d.layers[layer]
	at := func(line int) int { return stamp(layer, line+l.Offset) }
	refuse := func(line int, message, hint string) (*yaml.Node, bool) {
		d.report(Problem{Line: at(line), Column: 1, Message: message, Hint: hint})
		return nil, false
	}
	if len(l.Data) > MaxSize {
		return refuse(1, fmt.Sprintf("the file is larger than %d MiB", MaxSize>>20), "")
	}
	if l.Form == CloudConfig {
		if message, hint := checkHeader(l.Data); message != "" {
			return refuse(1, message, hint)
		}
	}
	if line, ok := firstInvalidLine(l.Data); !ok {
		return refuse(line, "not valid YAML: the text is not UTF-8", "")
	}
	if l.Form == CommandLine {
		return d.words(string(l.Data), layer)
	}
	reader := yaml.NewDecoder(bytes.NewReader(l.Data))
	var doc, second yaml.Node
	if err := reader.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return d.syntax(l.Data, err, at)
	}
	switch err := reader.Decode(&second); {
	case err == nil:
		d.report(Problem{Line: at(second.Line), Column: second.Column, Message: "a second document begins here",
			Hint: "one file holds one document: remove the line ---"})
	case !errors.Is(err, io.EOF):
		return d.syntax(l.Data, err, at)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, true
	}
	stampAll(doc.Content[0], at)
	return doc.Content[0], true
}

// stampAll goes by the tree alone: what an alias names is somewhere in it.
func stampAll(n *yaml.Node, at func(int) int) {
	n.Line = at(n.Line)
	for _, child := range n.Content {
		stampAll(child, at)
	}
}

// place puts the keys of a K3s file where a cloud-config has them.
func (l *Layer) place(root *yaml.Node) *yaml.Node {
	if l.Form != K3sConfig {
		return root
	}
	for _, key := range []string{"cluster", "skerry"} {
		root = &yaml.Node{Kind: yaml.MappingNode, Line: root.Line, Column: root.Column, Content: []*yaml.Node{
			{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: root.Line, Column: root.Column}, root,
		}}
	}
	return root
}

// firstInvalidLine finds text that is not UTF-8, which the YAML library would
// report without a line.
func firstInvalidLine(data []byte) (line int, ok bool) {
	if utf8.Valid(data) {
		return 0, true
	}
	line = 1
	for text := range bytes.Lines(data) {
		if !utf8.Valid(text) {
			break
		}
		line++
	}
	return line, false
}

var (
	syntaxLine = regexp.MustCompile(`^line (\d+): `)
	// syntaxHints explain the YAML library's words for the mistakes that people
	// make most.
	syntaxHints = []struct{ message, hint string }{
		{"mapping values are not allowed", "quote a value that holds a colon and a space, and check the indentation"},
		{"cannot start any token", "indent with spaces, not tabs; quote a value that begins with @, % or `"},
		{"did not find expected key", "check the indentation of this line and the one before"},
		{"did not find expected '-' indicator", "check the indentation of the list"},
		{"could not find expected ':'", "a key is followed by a colon and a space"},
		{"found unexpected end of stream", "a quote or a bracket is not closed"},
	}
)

// syntax reports an error of the YAML library, which knows the line only. No
// more of the file can be understood.
func (d *decoder) syntax(data []byte, err error, at func(line int) int) (*yaml.Node, bool) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := syntaxLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	lines := bytes.Split(data, []byte("\n"))
	line = max(1, min(line, len(lines)))
	text := lines[line-1]
	column := 1 + len(text) - len(bytes.TrimLeft(text, " \t"))
	p := Problem{Line: at(line), Column: column, Message: "not valid YAML: " + message}
	for _, known := range syntaxHints {
		if strings.Contains(message, known.message) {
			p.Hint = known.hint
			break
		}
	}
	d.report(p)
	return nil, false
}
