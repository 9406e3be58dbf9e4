// SPDX-License-Identifier: Apache-2.0

// Package k3os turns the config.yaml of a k3OS machine into a cloud-config.
//
// It changes text only, and never drops a key in silence: what became of each
// is told, and what can't be carried over is named with the reason. The result
// is what the schema's parser accepts.
package k3os

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// Note says what became of a key.
type Note struct {
	// File and Line are where the key is in the k3OS file; Line is 0 where the
	// whole file is meant.
	File string
	Line int
	// Key is its path there, as k3OS documents it.
	Key string
	// Carried says whether it has a place in the result.
	Carried bool
	Text    string
}

// String returns the note on one line.
func (n Note) String() string {
	mark := "left out"
	if n.Carried {
		mark = "carried over"
	}
	return fmt.Sprintf("%s:%d: %s: %s: %s", n.File, max(n.Line, 1), n.Key, mark, n.Text)
}

// Migrate returns the cloud-config, and a note for each key of the k3OS file.
func Migrate(file string, data []byte) (config []byte, notes []Note, err error) {
	root, err := parse(file, data)
	if err != nil {
		return nil, nil, err
	}
	m := &migration{file: file, origins: map[*yaml.Node]origin{}}
	if root != nil {
		m.section(root, "", topKeys)
	}
	m.finish()
	m.complete()
	if config, err = m.refuse(); err != nil {
		return nil, nil, err
	}
	slices.SortStableFunc(m.notes, func(a, b Note) int { return a.Line - b.Line })
	return config, m.notes, nil
}

func parse(file string, data []byte) (*yaml.Node, error) {
	if len(data) > configschema.MaxSize {
		return nil, fmt.Errorf("read %s: is larger than %d MiB", file, configschema.MaxSize>>20)
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("read %s: not a k3OS configuration: expected a mapping of keys and values", file)
	}
	return doc.Content[0], nil
}

// origin is the k3OS key that a value of the result is from.
type origin struct {
	line int
	key  string
}

// migration is the result as it grows.
type migration struct {
	file    string
	notes   []Note
	origins map[*yaml.Node]origin // of values of the result

	hostname      *yaml.Node
	keys          []*yaml.Node
	imports       []*yaml.Node
	password      *yaml.Node
	plainPassword *yaml.Node
	files         []*yaml.Node
	bootcmd       []*yaml.Node
	runcmd        []*yaml.Node
	role          *yaml.Node
	cluster       settings
	sysctls       settings
	environment   settings
	modules       []*yaml.Node
	ntp           []*yaml.Node

	root *yaml.Node
}

// settings is a mapping in the order in which it was made.
type settings []*yaml.Node

func (s *settings) set(key string, value *yaml.Node) {
	for i := 0; i < len(*s); i += 2 {
		if (*s)[i].Value == key {
			(*s)[i+1] = value
			return
		}
	}
	*s = append(*s, text(key), value)
}

func (s *settings) get(key string) *yaml.Node {
	for i := 0; i < len(*s); i += 2 {
		if (*s)[i].Value == key {
			return (*s)[i+1]
		}
	}
	return nil
}

// add appends to a list, and makes one of what is there.
func (s *settings) add(key string, values ...*yaml.Node) {
	list := s.get(key)
	switch {
	case list == nil:
		list = sequence()
	case list.Kind == yaml.ScalarNode:
		list = sequence(list)
	}
	list.Content = append(list.Content, values...)
	s.set(key, list)
}

func (m *migration) note(o origin, carried bool, format string, args ...any) {
	m.notes = append(m.notes, Note{File: m.file, Line: o.line, Key: o.key, Carried: carried, Text: fmt.Sprintf(format, args...)})
}

// finish puts the result together.
func (m *migration) finish() {
	var root, skerry settings
	if m.hostname != nil {
		root.set("hostname", m.hostname)
	}
	if len(m.keys)+len(m.imports) > 0 || m.password != nil || m.plainPassword != nil {
		user := settings{}
		user.set("name", text("rancher"))
		user.set("gecos", text("k3OS' user"))
		user.set("sudo", text("ALL=(ALL) NOPASSWD:ALL"))
		switch {
		case m.password != nil:
			user.set("passwd", m.password)
			user.set("lock_passwd", plain("false"))
		case m.plainPassword != nil:
			user.set("plain_text_passwd", m.plainPassword)
			user.set("lock_passwd", plain("false"))
		}
		if len(m.keys) > 0 {
			user.set("ssh_authorized_keys", sequence(m.keys...))
		}
		if len(m.imports) > 0 {
			user.set("ssh_import_id", sequence(m.imports...))
		}
		root.set("users", sequence(mapping(user)))
	}
	if len(m.bootcmd) > 0 {
		root.set("bootcmd", sequence(m.bootcmd...))
	}
	if len(m.runcmd) > 0 {
		root.set("runcmd", sequence(m.runcmd...))
	}
	if len(m.ntp) > 0 {
		root.set("ntp", mapping(settings{text("servers"), sequence(m.ntp...)}))
	}
	if len(m.files) > 0 {
		root.set("write_files", sequence(m.files...))
	}
	if m.role != nil {
		skerry.set("role", m.role)
	}
	for _, part := range []struct {
		key  string
		from settings
	}{{"cluster", m.cluster}, {"sysctls", m.sysctls}, {"environment", m.environment}} {
		if len(part.from) > 0 {
			skerry.set(part.key, mapping(part.from))
		}
	}
	if len(m.modules) > 0 {
		skerry.set("modules", sequence(m.modules...))
	}
	if len(skerry) > 0 {
		root.set("skerry", mapping(skerry))
	}
	m.root = mapping(root)
}

func (m *migration) encode() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(configschema.Header + "\n")
	if len(m.root.Content) == 0 {
		return out.Bytes(), nil
	}
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(m.root); err != nil {
		return nil, fmt.Errorf("encode the cloud-config: %w", err)
	}
	return out.Bytes(), nil
}
