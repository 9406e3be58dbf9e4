// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	d := newDecoder(file)
	if message, hint := checkHeader(data); message != "" {
		d.report(Problem{Line: 1, Column: 1, Message: message, Hint: hint})
		return nil, d.problems
	}
	config := new(Config)
	d.document(data, config)
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return config, nil
}

// Validate returns every problem of a cloud-config, none when it is right.
func Validate(file string, data []byte) Problems {
	_, problems := Parse(file, data)
	return problems
}

// ParseCluster reads a K3s config.yaml, with the same strictness. It reads what
// EncodeCluster writes.
func ParseCluster(file string, data []byte) (*Cluster, Problems) {
	d := newDecoder(file)
	d.plainSecrets = true
	cluster := new(Cluster)
	d.document(data, cluster)
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
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
			return "the file is " + form.name + ", which is not supported by this release",
				"write a file whose first line is " + Header
		}
	}
	if bytes.Contains(data, []byte("\n"+Header)) {
		return "the line " + Header + " must be the first", "remove what is before it"
	}
	return "the first line must be " + Header, ""
}

// document parses the YAML and decodes its one document into v.
func (d *decoder) document(data []byte, v any) {
	if len(data) > MaxSize {
		d.report(Problem{Line: 1, Column: 1, Message: fmt.Sprintf("the file is larger than %d MiB", MaxSize>>20)})
		return
	}
	if line, ok := firstInvalidLine(data); !ok {
		d.report(Problem{Line: line, Column: 1, Message: "not valid YAML: the text is not UTF-8"})
		return
	}
	reader := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := reader.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		d.syntax(data, err)
		return
	}
	var second yaml.Node
	switch err := reader.Decode(&second); {
	case err == nil:
		d.problem(&second, "", "a second document begins here", "one file holds one document: remove the line ---")
	case !errors.Is(err, io.EOF):
		d.syntax(data, err)
		return
	}
	if len(doc.Content) == 0 {
		return // nothing but comments: every default applies
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return
	}
	d.budget = aliasFactor * countNodes(root)
	d.value(root, "", v)
	if d.overflow > 0 {
		d.problems = d.problems[:d.overflow]
	}
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
func (d *decoder) syntax(data []byte, err error) {
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
	p := Problem{Line: line, Column: column, Message: "not valid YAML: " + message}
	for _, known := range syntaxHints {
		if strings.Contains(message, known.message) {
			p.Hint = known.hint
			break
		}
	}
	d.report(p)
}
