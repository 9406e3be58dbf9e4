// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"reflect"
	"slices"
	"strings"
)

// shape is what reflection knows of a struct: its keys in order.
type shape struct {
	keys   []string
	fields map[string][]int // as FieldByIndex has it
	enums  map[string][]string
	needed []string
}

func (d *decoder) shape(t reflect.Type) *shape {
	if s := d.shapes[t]; s != nil {
		return s
	}
	s := &shape{fields: map[string][]int{}, enums: map[string][]string{}}
	s.add(t, nil)
	d.shapes[t] = s
	return s
}

func (s *shape) add(t reflect.Type, above []int) {
	for i := range t.NumField() {
		field := t.Field(i)
		key := field.Tag.Get("yaml")
		at := append(slices.Clone(above), i)
		switch key {
		case "-":
			continue
		case ",inline":
			s.add(field.Type, at)
			continue
		}
		s.keys = append(s.keys, key)
		s.fields[key] = at
		if values := field.Tag.Get("enum"); values != "" {
			s.enums[key] = strings.Split(values, ",")
		}
		if field.Tag.Get("required") == "true" {
			s.needed = append(s.needed, key)
		}
	}
}
