// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"os"
	"regexp"
	"strings"
)

// Message is text with variables: $uptime in seconds, $timestamp, $version of
// the system and $datasource the configuration came from; also in capitals, and
// in braces.
type Message string

var messageVariables = []string{"uptime", "timestamp", "version", "datasource"}

var variable = regexp.MustCompile(`\$(\{[^}]*\}|[A-Za-z_][A-Za-z0-9_]*)`)

func (m *Message) check(s scope) {
	if strings.Contains(string(*m), "{{") || strings.HasPrefix(string(*m), "## template:") {
		s.problem(s.path, "jinja templates are not supported by this release", "write $uptime, $timestamp, $version or $datasource")
		return
	}
	for _, found := range variable.FindAllString(string(*m), -1) {
		name := strings.ToLower(strings.Trim(found, "${}"))
		if !set(messageVariables...)[name] {
			hint := didYouMean(name, messageVariables)
			if hint == "" {
				hint = "$" + strings.Join(messageVariables, ", $")
			}
			s.problem(s.path, quote(found)+" is not a variable of the message", hint)
			return
		}
	}
}

// Expand replaces the variables, by their names in small letters.
func (m Message) Expand(values map[string]string) string {
	return os.Expand(string(m), func(name string) string { return values[strings.ToLower(name)] })
}
