// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// scope is a mapping that is being checked: it finds the places of its keys.
type scope struct {
	d    *decoder
	path string
}

// at returns the path below the scope that keys and item numbers lead to.
func (s scope) at(steps ...any) string {
	path := s.path
	for _, step := range steps {
		switch step := step.(type) {
		case int:
			path = index(path, step)
		case string:
			path = join(path, step)
		}
	}
	return path
}

// has says whether a key is in the file, whatever its value.
func (s scope) has(key string) bool {
	_, ok := s.d.places[s.at(key)]
	return ok
}

// sound says whether nothing was wrong with a key so far.
func (s scope) sound(key string) bool { return !s.d.places[s.at(key)].unsound }

// item is the path of a list's value: the item where values and YAML items
// agree, the list where one string held them all.
func (s scope) item(key string, i int) string {
	if path := s.at(key, i); s.d.places[path] != (place{}) {
		return path
	}
	return s.at(key)
}

// problem reports at a path, or at the nearest that is in the file above it.
// What is already known to be wrong is passed over: one mistake, one problem.
func (s scope) problem(path, message, hint string) {
	where, ok := s.d.places[path]
	if where.unsound {
		return
	}
	if ok {
		where.unsound = true
		s.d.places[path] = where
	}
	for above := path; !ok && above != ""; where, ok = s.d.places[above] {
		above = above[:max(0, strings.LastIndexAny(above, ".["))]
	}
	s.d.report(Problem{Line: where.line, Column: where.column, Path: path, Message: message, Hint: hint})
}

// join appends a key to a path. What isn't a plain word is quoted, for sysctl
// names hold dots: skerry.sysctls["vm.max_map_count"].
func join(path, key string) string {
	switch {
	case !plainWord(key):
		return path + "[" + quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

// index appends an item's number to a path.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func plainWord(key string) bool {
	for _, r := range key {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '_' && r != '-' && r != '+' {
			return false
		}
	}
	return key != ""
}

// clip shortens what is repeated from a file, so that a problem stays a line.
func clip(text string) string {
	const longest = 64
	if utf8.RuneCountInString(text) <= longest {
		return text
	}
	return string([]rune(text)[:longest]) + "…"
}

func quote(text string) string { return strconv.Quote(clip(text)) }

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}
