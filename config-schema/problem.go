// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	// File is the name the parser was given.
	File string `json:"file" yaml:"file"`
	// Line and Column count from 1 and point at the key or value.
	Line   int `json:"line" yaml:"line"`
	Column int `json:"column" yaml:"column"`
	// Path of the key, such as skerry.cluster.token or users[0].name. Empty when
	// the file as a whole is meant.
	Path string `json:"path,omitempty" yaml:"path,omitempty"`
	// Message says what is wrong. It never contains a secret.
	Message string `json:"message" yaml:"message"`
	// Hint says what to do, where that is known.
	Hint string `json:"hint,omitempty" yaml:"hint,omitempty"`
}

// String returns the problem on one line, as compilers print theirs:
//
//	user-data:12:3: skerry.cluster.tokn: unknown key (did you mean "token"?)
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems are all the problems of a file, in the order of the file.
type Problems []Problem

// Error returns the problems one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the problems as an error, or nil when there are none.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
}
