// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const referenceHead = `# cloud-config reference

Every key of a ` + "`#cloud-config`" + `. This page is made from the Go types in ` + "`config-schema/`" + ` by
` + "`go generate ./config-schema`" + `, and a test fails when it is stale. How several files are merged into one
configuration is told in [configuration.md](../configuration.md); ` + "`skerry config schema`" + ` prints the JSON Schema.

| key | type | default | description |
|---|---|---|---|
`

// reference builds the reference page: one row a key, in the order of the types.
func reference(source string) ([]byte, error) {
	comments, err := readComments(source)
	if err != nil {
		return nil, err
	}
	var page strings.Builder
	page.WriteString(referenceHead)
	w := writer{page: &page, comments: comments, told: map[reflect.Type]string{}}
	err = w.rows(reflect.TypeFor[configschema.Config](), "")
	return []byte(page.String()), err
}

type writer struct {
	page     *strings.Builder
	comments comments
	// told are the types whose keys have rows, with where those are.
	told map[reflect.Type]string
}

func (w *writer) rows(t reflect.Type, above string) error {
	w.told[t] = strings.TrimSuffix(above, ".")
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get("yaml")
		switch tag {
		case "", "-":
			continue
		case ",inline":
			if err := w.inline(field.Type, above); err != nil {
				return err
			}
			continue
		}
		key := above + tag
		name, inner, err := typeName(field.Type)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		next := key + "."
		switch {
		case strings.HasPrefix(name, "list"):
			next = key + "[]."
		case strings.HasPrefix(name, "map"):
			next = key + ".NAME."
		}
		if values := field.Tag.Get("enum"); values != "" {
			name += ": `" + strings.ReplaceAll(values, ",", "` `") + "`"
		}
		if field.Tag.Get("required") == "true" {
			name += ", required"
		}
		text, fallback := splitDefault(w.comments[t.Name()+"."+field.Name])
		other, told := w.told[inner]
		if told {
			text += " Its keys are those of `" + other + "`."
		}
		w.row(key, name, fallback, text)
		if inner == nil || told {
			continue
		}
		if err := w.rows(inner, next); err != nil {
			return err
		}
	}
	return nil
}

// inline writes the keys of a struct that another one takes in, once.
func (w *writer) inline(t reflect.Type, above string) error {
	other, told := w.told[t]
	if !told {
		return w.rows(t, above)
	}
	fields := fieldsOf(t)
	w.row(above+"…", "", "", "And the keys of `"+other+"` from `"+fields[0].Tag.Get("yaml")+"` to `"+fields[len(fields)-1].Tag.Get("yaml")+"`.")
	return nil
}

func (w *writer) row(key, name, fallback, text string) {
	fmt.Fprintf(w.page, "| `%s` | %s | %s | %s |\n", key, cell(name), cell(fallback), cell(text))
}

// secretName is of a secret, which may be kept elsewhere.
const secretName = "secret: a string, or a section that says where it is"

// typeNames are the types with ways of their own to be written.
var typeNames = map[reflect.Type]string{
	reflect.TypeFor[configschema.Switch]():          "true or false",
	reflect.TypeFor[configschema.CommaList]():       "list of strings, or one with commas",
	reflect.TypeFor[configschema.ArgList]():         "list of strings, or one",
	reflect.TypeFor[configschema.Sudo]():            "list of strings, or one, or false",
	reflect.TypeFor[configschema.Mode]():            "octal mode",
	reflect.TypeFor[configschema.Secret]():          secretName,
	reflect.TypeFor[configschema.Environment]():     "map of names and secret strings, or sections that say where each is read",
	reflect.TypeFor[configschema.ImportIDs]():       "list of strings, or one",
	reflect.TypeFor[configschema.PostFields]():      "list of strings, or `all`",
	reflect.TypeFor[configschema.PasswordList]():    "list of `user:password`, or one text with a line for each",
	reflect.TypeFor[configschema.Command]():         "command",
	reflect.TypeFor[configschema.Condition]():       "command, true or false",
	reflect.TypeFor[configschema.Groups]():          "list of names, or of mappings of a name to its members",
	reflect.TypeFor[configschema.Date]():            "date",
	reflect.TypeFor[configschema.Days]():            "number of days",
	reflect.TypeFor[configschema.Delay]():           "`now`, or `+` and a number of minutes",
	reflect.TypeFor[configschema.Size]():            "size such as `512M`, or `auto`",
	reflect.TypeFor[configschema.AfterInstall]():    "true, false or `poweroff`",
	reflect.TypeFor[configschema.SyncWait]():        "true, false or a number of seconds",
	reflect.TypeFor[configschema.KeepName]():        "false",
	reflect.TypeFor[configschema.ManageHosts]():     "true, false or `localhost`",
	reflect.TypeFor[configschema.GrowMode]():        "`auto` or `growpart`",
	reflect.TypeFor[configschema.ResizeRootFS]():    "true or `noblock`",
	reflect.TypeFor[configschema.PartitionNumber](): "number, or `none`",
	reflect.TypeFor[configschema.Layout]():          "true, false or a list of sizes",
	reflect.TypeFor[configschema.Mount]():           "mount",
	reflect.TypeFor[configschema.Sysctls]():         "map of names and values",
	reflect.TypeFor[configschema.Patterns]():        "list of strings, or one",
	reflect.TypeFor[configschema.DomainUse]():       "true, false or `route`",
	reflect.TypeFor[configschema.Milliseconds]():    "milliseconds, or a span such as `1s`",
	reflect.TypeFor[configschema.Seconds]():         "seconds, or a span such as `500ms`",
	reflect.TypeFor[configschema.Sources]():         "list of networks, or one",
	reflect.TypeFor[configschema.Access]():          "true, false or a list of networks",
	reflect.TypeFor[configschema.Ports]():           "list of ports and ranges, or one",
	reflect.TypeFor[configschema.PortNumbers]():     "map of interfaces and whole numbers",
	reflect.TypeFor[configschema.PrivateKey]():      secretName,
}

// typeName names a type as a user of the file would, and returns the struct
// whose keys come below it.
func typeName(t reflect.Type) (name string, inner reflect.Type, err error) {
	if t.Kind() == reflect.Pointer {
		return typeName(t.Elem())
	}
	if name, ok := typeNames[t]; ok {
		return name, nil, nil
	}
	switch t.Kind() {
	case reflect.String:
		return "string", nil, nil
	case reflect.Bool:
		return "true or false", nil, nil
	case reflect.Int:
		return "whole number", nil, nil
	case reflect.Struct:
		return "section", t, nil
	case reflect.Slice:
		name, inner, err = typeName(t.Elem())
		if inner != nil {
			name = "mapping"
		}
		if isNamed(t) {
			return "map of names and " + plural(name), inner, err
		}
		return "list of " + plural(name), inner, err
	case reflect.Map:
		name, inner, err = typeName(t.Elem())
		if inner != nil {
			name = "mapping"
		}
		return "map of names and " + plural(name), inner, err
	}
	return "", nil, fmt.Errorf("no name for type %s", t)
}

func plural(name string) string {
	if strings.Contains(name, " ") {
		return name
	}
	return name + "s"
}

var defaultSentence = regexp.MustCompile(` ?The default is (.+?)\.( |$)`)

// splitDefault takes the default out of a comment, where one sentence says it.
func splitDefault(comment string) (text, fallback string) {
	m := defaultSentence.FindStringSubmatchIndex(comment)
	if m == nil {
		return comment, ""
	}
	return strings.TrimSpace(comment[:m[0]] + " " + comment[m[1]:]), comment[m[2]:m[3]]
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(text)
}
