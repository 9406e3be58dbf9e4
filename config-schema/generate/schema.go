// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// node is a JSON Schema.
type node map[string]any

// schema builds the JSON Schema of the cloud-config. Comments are read from the
// source, for reflection doesn't have them.
func schema(source string) ([]byte, error) {
	comments, err := readComments(source)
	if err != nil {
		return nil, err
	}
	b := builder{comments: comments, defs: node{}}
	root := reflect.TypeFor[configschema.Config]()
	if _, err := b.object(root); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err = encoder.Encode(node{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "Skerry cloud-config",
		"$ref":    "#/$defs/" + root.Name(),
		"$defs":   b.defs,
	})
	return out.Bytes(), err
}

type builder struct {
	comments comments
	defs     node
}

// special are the types with ways of their own to be written.
var special = map[reflect.Type]node{
	reflect.TypeFor[configschema.Switch]():          onOff(),
	reflect.TypeFor[configschema.CommaList]():       oneOrMore(),
	reflect.TypeFor[configschema.ArgList]():         oneOrMore(),
	reflect.TypeFor[configschema.ImportIDs]():       oneOrMore(),
	reflect.TypeFor[configschema.PostFields]():      oneOrMore(),
	reflect.TypeFor[configschema.PasswordList]():    oneOrMore(),
	reflect.TypeFor[configschema.Sudo]():            {"anyOf": append(oneOrMore()["anyOf"].([]node), node{"const": false})},
	reflect.TypeFor[configschema.Mode]():            {"type": []string{"string", "integer"}, "pattern": "^(0o)?[0-7]{1,4}$"},
	reflect.TypeFor[configschema.Secret]():          secret(),
	reflect.TypeFor[configschema.Environment]():     {"type": "object", "additionalProperties": secret()},
	reflect.TypeFor[configschema.Sysctls]():         {"type": "object", "additionalProperties": node{"type": []string{"string", "number", "boolean"}}},
	reflect.TypeFor[configschema.Command]():         command(),
	reflect.TypeFor[configschema.Condition]():       {"anyOf": append(command()["anyOf"].([]node), node{"type": "boolean"})},
	reflect.TypeFor[configschema.Groups]():          groups(),
	reflect.TypeFor[configschema.Date]():            {"type": "string", "format": "date"},
	reflect.TypeFor[configschema.Days]():            {"type": []string{"string", "integer"}, "pattern": "^[0-9]{1,5}$"},
	reflect.TypeFor[configschema.Delay]():           {"type": []string{"string", "integer"}, "pattern": "^(now|[+]?[0-9]{1,6})$"},
	reflect.TypeFor[configschema.Size]():            {"type": []string{"string", "integer"}, "pattern": "^(auto|[0-9_]+[kKmMgGtT]?(i?[bB])?)$"},
	reflect.TypeFor[configschema.AfterInstall]():    {"enum": []any{true, false, "poweroff"}},
	reflect.TypeFor[configschema.SyncWait]():        {"type": []string{"boolean", "integer"}, "minimum": 0},
	reflect.TypeFor[configschema.KeepName]():        {"const": false},
	reflect.TypeFor[configschema.ManageHosts]():     {"enum": []any{true, false, "localhost", "template"}},
	reflect.TypeFor[configschema.GrowMode]():        {"enum": []string{"auto", "growpart"}},
	reflect.TypeFor[configschema.ResizeRootFS]():    {"enum": []any{true, "noblock"}},
	reflect.TypeFor[configschema.PartitionNumber](): {"anyOf": []node{{"type": []string{"integer", "string"}}, {"const": "none"}}},
	reflect.TypeFor[configschema.Layout]():          {"anyOf": []node{{"type": "boolean"}, {"type": "array"}}},
	reflect.TypeFor[configschema.Mount]():           {"type": "array", "minItems": 2, "maxItems": 6},
	reflect.TypeFor[configschema.Patterns]():        oneOrMore(),
	reflect.TypeFor[configschema.DomainUse]():       {"enum": []any{true, false, "route"}},
	reflect.TypeFor[configschema.Milliseconds]():    span(),
	reflect.TypeFor[configschema.Seconds]():         span(),
	reflect.TypeFor[configschema.Sources]():         oneOrMore(),
	reflect.TypeFor[configschema.Access]():          {"anyOf": append(oneOrMore()["anyOf"].([]node), node{"type": "boolean"})},
	reflect.TypeFor[configschema.Ports]():           ports(),
	reflect.TypeFor[configschema.PortNumbers]():     {"type": "object", "additionalProperties": node{"type": "integer"}},
}

// secret is a value, or where to read it.
func secret() node {
	reference := func(key string) node {
		return node{"type": "object", "additionalProperties": false, "required": []string{key},
			"properties": node{key: node{"type": "string"}}}
	}
	return node{"anyOf": []node{{"type": "string", "minLength": 1}, reference("file"), reference("credential")}}
}

// onOff is what K3s takes for a flag that is on or off.
func onOff() node {
	return node{"anyOf": []node{{"type": "boolean"}, {"enum": []any{
		0, 1, "0", "1", "t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE",
	}}}}
}

func command() node {
	words := node{"type": "array", "minItems": 1, "items": node{"type": []string{"string", "number", "boolean"}}}
	return node{"anyOf": []node{{"type": "string", "minLength": 1}, words}}
}

func groups() node {
	members := node{"type": "object", "additionalProperties": node{"anyOf": []node{{"type": "string"}, {"type": "array"}, {"type": "null"}}}}
	return node{"anyOf": []node{{"type": "string"}, members, {"type": "array", "items": node{"anyOf": []node{{"type": "string"}, members}}}}}
}

func oneOrMore() node {
	return node{"anyOf": []node{{"type": "string"}, {"type": "array", "items": node{"type": "string"}}}}
}

func ports() node {
	port := node{"type": []string{"integer", "string"}, "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*$"}
	return node{"anyOf": []node{port, {"type": "array", "items": port}}}
}

func span() node {
	return node{"type": []string{"integer", "string"}, "pattern": "^[0-9]+ *(ms|s|m|min|h)?$"}
}

// typeOf returns the schema of a type. The values of an enum belong to the
// strings in it.
func (b *builder) typeOf(t reflect.Type, enum []string) (node, error) {
	if t.Kind() == reflect.Pointer {
		return b.typeOf(t.Elem(), enum)
	}
	if fixed, ok := special[t]; ok {
		n := node{}
		for key, value := range fixed {
			n[key] = value
		}
		if enum != nil { // of a list, whose one string may hold several values
			n["anyOf"] = []node{{"type": "string"}, {"type": "array", "items": node{"enum": enum}}}
		}
		return n, nil
	}
	switch t.Kind() {
	case reflect.String:
		if enum != nil {
			return node{"enum": enum}, nil
		}
		return node{"type": "string"}, nil
	case reflect.Bool:
		return node{"type": "boolean"}, nil
	case reflect.Int:
		return node{"type": "integer"}, nil
	case reflect.Slice:
		items, err := b.typeOf(t.Elem(), enum)
		if err != nil {
			return nil, err
		}
		if t.Elem() == reflect.TypeFor[configschema.User]() {
			items = node{"anyOf": []node{{"const": "default"}, items}}
		}
		if isNamed(t) {
			return node{"type": "object", "additionalProperties": items}, nil
		}
		return node{"type": "array", "items": items}, nil
	case reflect.Map:
		values, err := b.typeOf(t.Elem(), nil)
		if err != nil {
			return nil, err
		}
		return node{"type": "object", "additionalProperties": values}, nil
	case reflect.Struct:
		definition, err := b.object(t)
		if t == reflect.TypeFor[configschema.PrivateKey]() {
			definition = node{"anyOf": []node{special[reflect.TypeFor[configschema.Secret]()], definition}}
		}
		return definition, err
	}
	return nil, fmt.Errorf("no schema for type %s", t)
}

// object defines a struct once, and returns a reference to it.
func (b *builder) object(t reflect.Type) (node, error) {
	reference := node{"$ref": "#/$defs/" + t.Name()}
	if _, done := b.defs[t.Name()]; done {
		return reference, nil
	}
	properties, required := node{}, []string{}
	for _, field := range fieldsOf(t) {
		var enum []string
		if values := field.Tag.Get("enum"); values != "" {
			enum = strings.Split(values, ",")
		}
		property, err := b.typeOf(field.Type, enum)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t.Name(), field.Name, err)
		}
		description := b.comments[field.owner+"."+field.Name]
		if description == "" {
			return nil, fmt.Errorf("%s.%s has no comment", t.Name(), field.Name)
		}
		property["description"] = description
		properties[field.Tag.Get("yaml")] = property
		if field.Tag.Get("required") == "true" {
			required = append(required, field.Tag.Get("yaml"))
		}
	}
	definition := node{
		"type": "object", "additionalProperties": false, "properties": properties,
		"description": b.comments[t.Name()],
		// A key with + appends to what earlier layers have.
		"patternProperties": node{`^.+\+$`: node{"type": []string{"array", "string"}}},
	}
	if len(required) > 0 {
		definition["required"] = required
	}
	b.defs[t.Name()] = definition
	return reference, nil
}

// isNamed says whether a list is written as a mapping whose keys are names.
func isNamed(t reflect.Type) bool { return strings.HasPrefix(t.Name(), "Named[") }

// field is one of a struct, or of one that it takes in.
type field struct {
	reflect.StructField
	owner string
}

func fieldsOf(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		switch f.Tag.Get("yaml") {
		case "-":
		case ",inline":
			list = append(list, fieldsOf(f.Type)...)
		default:
			list = append(list, field{f, t.Name()})
		}
	}
	return list
}
