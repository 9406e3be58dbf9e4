// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"gopkg.in/yaml.v3"
)

// redacted is what is shown of a secret. Its length says nothing of the
// secret's.
const redacted = "********"

// Secret is a string that must not appear in logs, errors or printed
// configurations. Every way of formatting or encoding it gives a fixed
// replacement; Reveal gives the value. (fmt can't call methods on unexported
// struct fields: keep secrets in exported ones.)
//
// A secret may also be given by reference, as a mapping: {file: /path}, or
// {credential: name} for a credential of systemd. It is empty to Reveal until
// Merged.Resolve has read it.
type Secret string

// Reveal returns the secret itself. Call it only where the value is needed.
func (s Secret) Reveal() string {
	if _, ok := s.Reference(); ok {
		return ""
	}
	return string(s)
}

// String returns a fixed replacement, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is String for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format covers every verb: without it a wrong one such as %d would print the
// value.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || (verb == 'v' && f.Flag('#')) {
		text = s.GoString()
	}
	_, _ = io.WriteString(f, text)
}

// LogValue redacts the secret in structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText redacts the secret in JSON and in every other text encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON redacts the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// MarshalYAML redacts the secret.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

func (s *Secret) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		*s = d.reference(n, path)
		return
	}
	text, ok := d.text(n, path, true)
	switch {
	case !ok:
	case text == "":
		d.problem(n, path, "is empty", "remove the key or give it a value")
	case strings.Contains(text, "\x00"):
		d.problem(n, path, "holds a zero byte", "")
	default:
		*s = Secret(text)
	}
}
