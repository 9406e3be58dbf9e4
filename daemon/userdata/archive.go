// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// archive expands a #cloud-config-archive: a list of texts, or of mappings with
// type, filename and content.
func (e *expander) archive(t text) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(t.data, &doc); err != nil {
		line, message := yamlError(err)
		e.problem(t, line, "not valid YAML: "+message, "")
		return nil
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.SequenceNode {
		e.problem(t, 1, "an archive is a list", "begin each item with -")
		return nil
	}
	for i, n := range doc.Content[0].Content {
		if e.full {
			return nil
		}
		name := fmt.Sprintf("%s part %d", t.name, i+1)
		if err := e.item(t, name, n); err != nil {
			return err
		}
	}
	return nil
}

func (e *expander) item(t text, name string, n *yaml.Node) error {
	at := n.Line
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode {
		content, ok := e.itemText(t, at, "the item", n)
		if !ok {
			return nil
		}
		return e.text(t.inner(name, []byte(content)))
	}
	if n.Kind != yaml.MappingNode {
		e.problem(t, at, "an item is a text, or a mapping with type and content", "")
		return nil
	}
	values := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		line := n.Content[i].Line
		switch _, twice := values[key]; {
		case key != "type" && key != "content" && key != "filename":
			e.problem(t, line, "unknown key "+quote(key), "type, filename and content")
			return nil
		case twice:
			e.problem(t, line, "duplicate key "+quote(key), "")
			return nil
		}
		content, ok := e.itemText(t, line, key, value)
		if !ok {
			return nil
		}
		values[key] = content
	}
	if _, ok := values["content"]; !ok {
		e.problem(t, at, "the key \"content\" is missing", "")
		return nil
	}
	if file := values["filename"]; file != "" {
		name += " (" + printable(file) + ")"
	}
	return e.typed(t.inner(name, []byte(values["content"])), strings.ToLower(strings.TrimSpace(values["type"])))
}

func (e *expander) itemText(t text, line int, what string, n *yaml.Node) (content string, ok bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!binary" {
		e.problem(t, line, what+" must be a string", "")
		return "", false
	}
	if err := n.Decode(&content); err != nil {
		e.problem(t, line, what+" is not base64", "")
		return "", false
	}
	return content, true
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// yamlError splits the line off an error of the YAML library.
func yamlError(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	return max(line, 1), printable(message)
}
