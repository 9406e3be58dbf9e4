// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"fmt"
	"strconv"
)

// header tells who finds a file where it comes from.
const header = "# Made by skerry from the network definition of this machine. Changes here are lost.\n"

// setting is one line of a section.
type setting struct{ key, value string }

// section of a file, with its settings in order.
type section struct {
	name     string
	settings []setting
}

func (s *section) text(key, value string) { s.settings = append(s.settings, setting{key, value}) }

func (s *section) number(key string, value int) { s.text(key, strconv.Itoa(value)) }

func (s *section) truth(key string, value bool) {
	if value {
		s.text(key, "yes")
	} else {
		s.text(key, "no")
	}
}

// given writes a setting that has a value.
func (s *section) given(key, value string) {
	if value != "" {
		s.text(key, value)
	}
}

func (s *section) givenNumber(key string, value *int) {
	if value != nil {
		s.number(key, *value)
	}
}

func (s *section) givenTruth(key string, value *bool) {
	if value != nil {
		s.truth(key, *value)
	}
}

// givenSpan writes a span of time that is given.
func givenSpan[T fmt.Stringer](s *section, key string, span *T) {
	if span != nil {
		s.text(key, (*span).String())
	}
}

// encode writes the sections that say anything.
func encode(sections []*section) []byte {
	var out bytes.Buffer
	out.WriteString(header)
	for _, s := range sections {
		if s == nil || len(s.settings) == 0 {
			continue
		}
		fmt.Fprintf(&out, "\n[%s]\n", s.name)
		for _, line := range s.settings {
			fmt.Fprintf(&out, "%s=%s\n", line.key, line.value)
		}
	}
	return out.Bytes()
}
