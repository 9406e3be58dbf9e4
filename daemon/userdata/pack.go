// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"

	configschema "github.com/skerry-os/skerry/config-schema"
)

var gzipMagic = []byte{0x1f, 0x8b}

func (e *expander) gzip(t text) error {
	inner, ok := e.unpack(t, formGzip)
	if !ok {
		return nil
	}
	return e.text(inner)
}

func (e *expander) base64(t text) error {
	inner, ok := e.unpack(t, formBase64)
	if !ok {
		return nil
	}
	return e.text(inner)
}

// unpack takes one wrapping off that doesn't change what is inside: not its
// name, and not its lines.
func (e *expander) unpack(t text, wrapping form) (inner text, ok bool) {
	if !e.admit(t) {
		return text{}, false
	}
	if wrapping == formBase64 {
		data, _ := decodeBase64(t.data) // as sniff found
		return t.inner(t.name, data), true
	}
	data, err := inflate(t.data)
	if err != nil {
		e.problem(t, 1, err.Error(), "")
		return text{}, false
	}
	return t.inner(t.name, data), true
}

func inflate(data []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("is damaged gzip: %w", err)
	}
	inflated, err := io.ReadAll(io.LimitReader(reader, configschema.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("is damaged gzip: %w", err)
	}
	return inflated, nil // admit refuses what is too large
}

// decodeBase64 decodes a text that is base64 and blanks, and nothing else.
func decodeBase64(data []byte) ([]byte, bool) {
	for _, c := range data {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		blank := c == ' ' || c == '\t' || c == '\r' || c == '\n'
		if !letter && !blank && c != '+' && c != '/' && c != '=' {
			return nil, false
		}
	}
	plain := bytes.Join(bytes.Fields(data), nil)
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(plain)))
	n, err := base64.StdEncoding.Decode(decoded, plain)
	return decoded[:n], err == nil && n > 0
}
