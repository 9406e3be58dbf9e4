// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// Setting is one value of a configuration, as it may be shown.
type Setting struct {
	// Path of the value, such as skerry.cluster.tls-san[0].
	Path string `json:"path" yaml:"path"`
	// Value is a string, a number or a truth value; a secret is redacted.
	Value any `json:"value" yaml:"value"`
	// Origin says which layer the value is from.
	Origin Origin `json:"origin" yaml:"origin"`

	// Actual is what a redacted value was, for telling that it has changed.
	Actual Secret `json:"-" yaml:"-"`
}

// Effective is what a configuration comes to, its defaults included and its
// secrets redacted.
type Effective struct {
	// Settings are in the order of the schema.
	Settings []Setting
	// Tree is the same as a file would have it.
	Tree *yaml.Node
}

// Effective returns what the configuration comes to.
func (m *Merged) Effective() (*Effective, error) {
	full, defaults, err := m.withDefaults()
	if err != nil {
		return nil, err
	}
	w := settingsWriter{merged: m, defaults: defaults}
	tree := w.value(reflect.ValueOf(full), "", Origin{})
	return &Effective{Settings: w.settings, Tree: tree}, nil
}

// withDefaults completes the configuration, and returns the paths where that
// put a value. An agent gets what concerns the whole cluster from its server,
// and nothing here.
func (m *Merged) withDefaults() (full Config, defaults map[string]bool, err error) {
	full, defaults = *m.Config, map[string]bool{}
	if full.Skerry.Role == "" {
		full.Skerry.Role = full.Skerry.EffectiveRole()
		defaults["skerry.role"] = true
	}
	complete, err := full.Skerry.Cluster.WithDefaults()
	if err != nil {
		return Config{}, nil, err
	}
	from, to := reflect.ValueOf(complete), reflect.ValueOf(&full.Skerry.Cluster).Elem()
	for i, key := range clusterKeys() {
		onlyServer := k3sKeys[key] == onServer
		if !to.Field(i).IsZero() || from.Field(i).IsZero() || onlyServer && full.Skerry.Role == RoleAgent {
			continue
		}
		to.Field(i).Set(from.Field(i))
		defaults[join("skerry.cluster", key)] = true
	}
	return full, defaults, nil
}

// written is a value that a file has in another form than the decoder keeps it.
type written interface{ written() any }

type settingsWriter struct {
	merged   *Merged
	defaults map[string]bool
	settings []Setting
}

// value writes a value and returns it as a node, or nil when there is none.
// above is the origin of what it is in: parts of a value that was written in one
// piece have that of the whole.
func (w *settingsWriter) value(v reflect.Value, path string, above Origin) *yaml.Node {
	origin := w.originOf(path, above)
	switch typed := v.Interface().(type) {
	case written:
		return w.value(reflect.ValueOf(typed.written()), path, origin)
	case Secret:
		return w.secret(typed, path, origin)
	case fmt.Stringer:
		return w.scalar(typed.String(), path, origin)
	case encoding.TextMarshaler:
		text, err := typed.MarshalText()
		if err != nil {
			text = []byte("?") // of a value that was decoded from text
		}
		return w.scalar(string(text), path, origin)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return w.value(v.Elem(), path, origin)
	case reflect.Struct:
		return w.structure(v, path, origin)
	case reflect.Map:
		return w.mapping(v, path, origin)
	case reflect.Slice:
		if list, ok := v.Interface().(named); ok {
			return w.named(v, list, path, origin)
		}
		return w.list(v, path, origin)
	case reflect.String: // without the name of its type
		return w.scalar(v.String(), path, origin)
	case reflect.Bool:
		return w.scalar(v.Bool(), path, origin)
	default:
		return w.scalar(v.Interface(), path, origin)
	}
}

func (w *settingsWriter) originOf(path string, above Origin) Origin {
	switch {
	case w.defaults[path]:
		return Origin{Layer: defaultLayer}
	case w.isWritten(path):
		return w.merged.Origin(path)
	}
	return above
}

// structure leaves out what is neither written nor has a default.
func (w *settingsWriter) structure(v reflect.Value, path string, origin Origin) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		key := field.Tag.Get("yaml")
		if key == ",inline" {
			n.Content = append(n.Content, w.structure(v.Field(i), path, origin).Content...)
			continue
		}
		at := join(path, key)
		if key == "" || key == "-" || v.Field(i).IsZero() && !w.isWritten(at) {
			continue
		}
		child := v.Field(i)
		if file, ok := v.Interface().(File); ok && key == "content" && file.private() {
			child = reflect.ValueOf(Secret(file.Content))
		}
		if node := w.value(child, at, origin); node != nil {
			n.Content = append(n.Content, nameNode(key), node)
		}
	}
	return n
}

func (w *settingsWriter) mapping(v reflect.Value, path string, origin Origin) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		if fmt.Sprint(a) < fmt.Sprint(b) {
			return -1
		}
		return 1
	})
	for _, key := range keys {
		name := fmt.Sprint(key)
		if node := w.value(v.MapIndex(key), join(path, name), origin); node != nil {
			n.Content = append(n.Content, nameNode(name), node)
		}
	}
	return n
}

// named writes a list whose items have names as the mapping it was. That there
// is an item says something even where it has no values.
func (w *settingsWriter) named(v reflect.Value, list named, path string, origin Origin) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.Len() {
		at := join(path, list.nameOf(i))
		before := len(w.settings)
		node := w.value(v.Index(i), at, origin)
		if len(w.settings) == before {
			node.Style = yaml.FlowStyle
			w.settings = append(w.settings, Setting{Path: at, Value: map[string]any{}, Origin: w.originOf(at, origin)})
		}
		n.Content = append(n.Content, nameNode(list.nameOf(i)), node)
	}
	return n
}

func (w *settingsWriter) list(v reflect.Value, path string, origin Origin) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if v.Len() == 0 {
		n.Style = yaml.FlowStyle
		w.settings = append(w.settings, Setting{Path: path, Value: []any{}, Origin: origin})
	}
	for i := range v.Len() {
		if node := w.value(v.Index(i), index(path, i), origin); node != nil {
			n.Content = append(n.Content, node)
		}
	}
	return n
}

func (w *settingsWriter) scalar(value any, path string, origin Origin) *yaml.Node {
	n := new(yaml.Node)
	if err := n.Encode(value); err != nil {
		value = fmt.Sprint(value)
		n = nameNode(fmt.Sprint(value))
	}
	w.settings = append(w.settings, Setting{Path: path, Value: value, Origin: origin})
	return n
}

// secret redacts a value, but not the place where one is kept.
func (w *settingsWriter) secret(value Secret, path string, origin Origin) *yaml.Node {
	if reference, elsewhere := value.Reference(); elsewhere {
		return w.structure(reflect.ValueOf(reference), path, origin)
	}
	w.settings = append(w.settings, Setting{Path: path, Value: value.String(), Origin: origin, Actual: value})
	return nameNode(value.String())
}

func (w *settingsWriter) isWritten(path string) bool {
	_, ok := w.merged.places[path]
	return ok
}

func nameNode(text string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(text)
	return n
}

// private says whether a file is kept from some of the machine's users. Its
// content is a secret then: nobody hides what everybody may know.
func (f *File) private() bool { return f.Mode()&0o004 == 0 }

// Change is a value that differs between two configurations. Before is nil for
// what is new, After for what is gone. Of a secret both are redacted.
type Change struct {
	Path   string `json:"path" yaml:"path"`
	Before any    `json:"before,omitempty" yaml:"before,omitempty"`
	After  any    `json:"after,omitempty" yaml:"after,omitempty"`
}

// Changes lists the values that differ, in the order of the schema, what is gone
// being last.
func (e *Effective) Changes(after *Effective) []Change {
	old := make(map[string]Setting, len(e.Settings))
	for _, s := range e.Settings {
		old[s.Path] = s
	}
	var changes []Change
	for _, s := range after.Settings {
		before, known := old[s.Path]
		delete(old, s.Path)
		switch {
		case !known:
			changes = append(changes, Change{Path: s.Path, After: s.Value})
		case fmt.Sprint(before.Value) != fmt.Sprint(s.Value) || before.Actual != s.Actual:
			changes = append(changes, Change{Path: s.Path, Before: before.Value, After: s.Value})
		}
	}
	for _, s := range e.Settings {
		if _, gone := old[s.Path]; gone {
			changes = append(changes, Change{Path: s.Path, Before: s.Value})
		}
	}
	return changes
}
