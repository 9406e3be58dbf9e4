// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// mime expands a MIME message: one part, or several.
func (e *expander) mime(t text) error {
	message, err := mail.ReadMessage(bytes.NewReader(bytes.TrimPrefix(t.data, byteOrderMark)))
	if err != nil {
		e.problem(t, 1, "not a valid MIME message: "+oneLine(err), "")
		return nil
	}
	body, err := readAll(message.Body)
	if err != nil {
		e.problem(t, 1, "not a valid MIME message: "+oneLine(err), "")
		return nil
	}
	return e.entity(t, t.name, textproto.MIMEHeader(message.Header), body)
}

// entity expands what has MIME headers.
func (e *expander) entity(outer text, name string, header textproto.MIMEHeader, body []byte) error {
	t := outer.inner(name, nil)
	for _, key := range []string{"Merge-Type", "X-Merge-Type"} {
		if header.Get(key) != "" {
			e.problem(t, 1, "the header "+key+" is not supported: there is one rule of merging", "a key with + appends to a list")
			return nil
		}
	}
	contentType, parameters := header.Get("Content-Type"), map[string]string{}
	if contentType != "" {
		var err error
		if contentType, parameters, err = mime.ParseMediaType(contentType); err != nil {
			e.problem(t, 1, "has a Content-Type that is not valid: "+oneLine(err), "")
			return nil
		}
	}
	data, err := decodeTransfer(header.Get("Content-Transfer-Encoding"), body)
	if err != nil {
		e.problem(t, 1, err.Error(), "")
		return nil
	}
	t.data = data
	if !strings.HasPrefix(contentType, "multipart/") {
		return e.typed(t, contentType)
	}
	if !e.admit(t) {
		return nil
	}
	return e.multipart(t, parameters["boundary"])
}

func (e *expander) multipart(t text, boundary string) error {
	if boundary == "" {
		e.problem(t, 1, "is multipart without a boundary", "")
		return nil
	}
	reader := multipart.NewReader(bytes.NewReader(t.data), boundary)
	for number := 1; !e.full; number++ {
		name := fmt.Sprintf("%s part %d", t.name, number)
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			if number == 1 {
				e.problem(t, 1, "is multipart and has no part", "")
			}
			return nil
		}
		if err != nil {
			e.problem(text{name: name}, 1, "not a valid MIME message: "+oneLine(err), "the last boundary ends with --")
			return nil
		}
		if file := fileName(part); file != "" {
			name += " (" + file + ")"
		}
		body, err := readAll(part)
		if err != nil {
			e.problem(text{name: name}, 1, "not a valid MIME message: "+oneLine(err), "the last boundary ends with --")
			return nil
		}
		if err := e.entity(t, name, part.Header, body); err != nil {
			return err
		}
	}
	return nil
}

// fileName is what the sender called a part.
func fileName(part *multipart.Part) string {
	name := part.FileName()
	if name == "" {
		if _, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Type")); err == nil {
			name = parameters["name"]
		}
	}
	if name == "" {
		return ""
	}
	return printable(name)
}

func decodeTransfer(encoding string, body []byte) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return body, nil
	case "base64":
		plain := bytes.Join(bytes.Fields(body), nil)
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(plain)))
		n, err := base64.StdEncoding.Decode(decoded, plain)
		if err != nil {
			return nil, errors.New("is not base64, as its Content-Transfer-Encoding says")
		}
		return decoded[:n], nil
	case "quoted-printable":
		decoded, err := readAll(quotedprintable.NewReader(bytes.NewReader(body)))
		if err != nil {
			return nil, errors.New("is not quoted-printable, as its Content-Transfer-Encoding says")
		}
		return decoded, nil
	default:
		return nil, fmt.Errorf("has an unknown Content-Transfer-Encoding, %s", quote(encoding))
	}
}

// readAll reads what admit will then judge.
func readAll(reader io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(reader, configschema.MaxSize+1))
}

// oneLine is an error that may repeat what a stranger wrote.
func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return printable(line)
}
