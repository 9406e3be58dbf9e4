// SPDX-License-Identifier: Apache-2.0

// Package userdata takes user-data apart: from any of cloud-init's forms it
// makes the cloud-configs and scripts that are in it, in order.
//
// It judges the wrapping only; what a cloud-config says is for the schema to
// judge. Everything it reads was written by a stranger: depth, number and size
// of what is unpacked are bounded. It does no input or output of its own, but
// for the fetcher that a caller may give.
package userdata

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// Bounds of what one user-data may unfold to.
const (
	// maxDepth is how many wrappings may be around each other.
	maxDepth = 8
	// maxParts is fewer than the layers that the schema takes.
	maxParts = 64
	// maxTotal is the size of all texts together, wrappings included, in bytes.
	// Each may have configschema.MaxSize.
	maxTotal = 4 * configschema.MaxSize
)

// Kind is what a part is.
type Kind string

// The kinds of parts.
const (
	CloudConfig Kind = "cloud-config"
	Script      Kind = "script"
	// Unfetched is an URL that was not asked for: there was no fetcher, or it
	// said ErrUnfetched.
	Unfetched Kind = "unfetched"
)

// Part is one of the texts in a user-data.
type Part struct {
	// Name is for messages: "user-data", "user-data part 2 (users.yaml)", or the
	// URL the part is from, without what may be secret in it.
	Name string
	Kind Kind
	Data []byte
	// Offset is the number of lines before Data in what Name names; it is -1
	// where the header of a cloud-config was left out.
	Offset int
}

// ErrUnfetched is what a fetcher says of an URL that is to stay one.
var ErrUnfetched = errors.New("not fetched")

// Fetcher gets what an #include names.
type Fetcher interface {
	// Fetch returns what is at an URL, at most configschema.MaxSize bytes. The
	// digest is that of SHA-256 in lower-case hexadecimal, or empty when the
	// user gave none; it is checked by the caller. Errors must not have the URL
	// in them: it may hold a password.
	Fetch(ctx context.Context, url, digest string) ([]byte, error)
}

// Options say what to expand.
type Options struct {
	// Name begins the names of parts. "user-data" when empty.
	Name string
	Data []byte
	// Fetcher is nil where nothing is to be fetched: what an #include names
	// becomes parts of kind Unfetched.
	Fetcher Fetcher
	// Instance is what templates may use.
	Instance Instance
}

// Expand returns the parts of a user-data in order. What is wrong with it comes
// as configschema.Problems, all of them; another error says what could not be
// fetched.
func Expand(ctx context.Context, options Options) ([]Part, error) {
	if options.Name == "" {
		options.Name = "user-data"
	}
	e := &expander{ctx: ctx, fetcher: options.Fetcher, instance: options.Instance}
	if err := e.text(text{name: options.Name, data: options.Data}); err != nil {
		return nil, err
	}
	if len(e.problems) > 0 {
		return nil, e.problems
	}
	return e.parts, nil
}

// text is something that is to be taken apart.
type text struct {
	name   string
	data   []byte
	offset int
	depth  int
}

// inner returns what was inside of a text.
func (t text) inner(name string, data []byte) text {
	return text{name: name, data: data, depth: t.depth + 1}
}

type expander struct {
	ctx      context.Context
	fetcher  Fetcher
	instance Instance
	parts    []Part
	problems configschema.Problems
	total    int
	includes int
	full     bool
}

func (e *expander) problem(t text, line int, message, hint string) {
	e.problems = append(e.problems, configschema.Problem{
		File: t.name, Line: max(1, line+t.offset), Column: 1, Message: message, Hint: hint,
	})
}

// text expands a text by how it begins. The error is that of fetching.
func (e *expander) text(t text) error {
	if !e.admit(t) {
		return nil
	}
	switch sniff(t.data) {
	case formGzip:
		return e.gzip(t)
	case formBase64:
		return e.base64(t)
	case formMIME:
		return e.mime(t)
	case formArchive:
		return e.archive(t)
	case formInclude:
		return e.include(t)
	case formTemplate:
		return e.template(t)
	case formScript:
		e.script(t)
	case formRefused:
		e.refuse(t)
	case formCloudConfig, formUnknown:
		// Of what is none of the forms, the schema's parser says what is amiss.
		e.add(Part{Name: t.name, Kind: CloudConfig, Data: t.data, Offset: t.offset})
	}
	return nil
}

// admit checks the bounds, and reports the first time one is passed.
func (e *expander) admit(t text) bool {
	switch e.total += len(t.data); {
	case e.full:
		return false
	case t.depth > maxDepth:
		e.problem(t, 1, fmt.Sprintf("is wrapped more than %d times", maxDepth), "")
		return false
	case len(t.data) > configschema.MaxSize:
		e.problem(t, 1, fmt.Sprintf("is larger than %d MiB", configschema.MaxSize>>20), "")
		return false
	case e.total > maxTotal:
		e.full = true
		e.problem(t, 1, fmt.Sprintf("with this, the user-data unfolds to more than %d MiB", maxTotal>>20), "")
		return false
	}
	return true
}

func (e *expander) add(p Part) {
	if e.full {
		return
	}
	if len(e.parts) == maxParts {
		e.full = true
		e.problem(text{name: p.Name}, 1, fmt.Sprintf("with this, the user-data has more than %d parts", maxParts), "")
		return
	}
	e.parts = append(e.parts, p)
}

// script takes a program of the user's. The kernel reads its first line.
func (e *expander) script(t text) {
	if sniff(t.data) != formScript {
		e.problem(t, 1, "the first line of a script must name its interpreter", "such as #!/bin/sh")
		return
	}
	e.add(Part{Name: t.name, Kind: Script, Data: t.data, Offset: t.offset})
}

// longest is how much of a stranger's words is repeated, in characters.
const longest = 200

// printable keeps a stranger's words on one line, and from steering a terminal.
func printable(words string) string {
	words = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, words)
	if utf8.RuneCountInString(words) > longest {
		words = string([]rune(words)[:longest]) + "…"
	}
	return words
}

func quote(word string) string { return strconv.Quote(printable(word)) }
