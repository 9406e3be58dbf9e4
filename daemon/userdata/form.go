// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"bytes"
	"regexp"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// form is how a text is written.
type form int

const (
	formUnknown form = iota
	formCloudConfig
	formGzip
	formBase64
	formMIME
	formArchive
	formInclude
	formTemplate
	formScript
	// formRefused are forms of cloud-init that are known and not supported.
	formRefused
)

const (
	archiveHeader  = "#cloud-config-archive"
	includeHeader  = "#include"
	templateHeader = "## template: jinja"
)

// refusedHeaders are the beginnings of forms that are refused, with the reason.
var refusedHeaders = []struct{ prefix, message, hint string }{
	{"#cloud-boothook", boothookMessage, boothookHint},
	{"#part-handler", handlerMessage, ""},
	{"#cloud-config-jsonp", jsonpMessage, jsonpHint},
	{"#include-once", "#include-once is not supported: what is included is fetched at each boot, and kept for boots without the network",
		"write " + includeHeader},
	{"#upstart-job", "Upstart isn't in the image", ""},
}

const (
	boothookMessage = "boot hooks are not supported: nothing runs before the configuration is known"
	boothookHint    = "say it in the cloud-config, or use a script"
	handlerMessage  = "part handlers are not supported: they are Python, which isn't in the image"
	jsonpMessage    = "JSON patches are not supported: the order and the rule of merging are fixed"
	jsonpHint       = "write a cloud-config; a key with + appends to a list"
)

// refusedTypes are the content types that are refused, with the reason.
var refusedTypes = map[string]struct{ message, hint string }{
	"text/cloud-boothook":            {boothookMessage, boothookHint},
	"text/part-handler":              {handlerMessage, ""},
	"text/cloud-config-jsonp":        {jsonpMessage, jsonpHint},
	"text/x-include-once-url":        {"is to be included once; what is included is fetched at each boot", "use text/x-include-url"},
	"text/upstart-job":               {"Upstart isn't in the image", ""},
	"text/x-shellscript-per-boot":    {"scripts run once per instance, not at each boot", "use text/x-shellscript"},
	"text/x-shellscript-per-once":    {"scripts run once per instance", "use text/x-shellscript"},
	"text/x-shellscript-per-install": {"scripts run once per instance", "use text/x-shellscript"},
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// firstLine returns the first line without its end.
func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimPrefix(data, byteOrderMark), []byte("\n"))
	return strings.TrimRight(string(line), " \t\r")
}

// sniff tells the form by the beginning of a text.
func sniff(data []byte) form {
	if bytes.HasPrefix(data, gzipMagic) {
		return formGzip
	}
	first := firstLine(data)
	for _, refused := range refusedHeaders {
		if strings.HasPrefix(first, refused.prefix) {
			return formRefused
		}
	}
	switch {
	case first == configschema.Header:
		return formCloudConfig
	case strings.HasPrefix(first, archiveHeader):
		return formArchive
	case strings.HasPrefix(first, includeHeader):
		return formInclude
	case strings.HasPrefix(first, templateHeader):
		return formTemplate
	case strings.HasPrefix(first, "#!"):
		return formScript
	case isMIME(data):
		return formMIME
	}
	if decoded, ok := decodeBase64(data); ok && sniff(decoded) != formUnknown {
		return formBase64
	}
	return formUnknown
}

// mimeHeader finds the headers that make a text a MIME message. Other headers
// may come before: every YAML file with a key in its first line looks like one.
var mimeHeader = regexp.MustCompile(`(?i)\A(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)*?(?:content-type|mime-version):`)

func isMIME(data []byte) bool {
	const headers = 16 << 10
	return mimeHeader.Match(data[:min(len(data), headers)])
}

func (e *expander) refuse(t text) {
	first := firstLine(t.data)
	for _, refused := range refusedHeaders {
		if strings.HasPrefix(first, refused.prefix) {
			e.problem(t, 1, refused.message, refused.hint)
			return
		}
	}
}

// typed expands a text of a content type that its sender gave.
func (e *expander) typed(t text, contentType string) error {
	if refused, ok := refusedTypes[contentType]; ok {
		e.problem(t, 1, refused.message, refused.hint)
		return nil
	}
	found := sniff(t.data)
	if found == formGzip || found == formBase64 {
		inner, ok := e.unpack(t, found)
		if !ok {
			return nil
		}
		return e.typed(inner, contentType)
	}
	if !e.admit(t) {
		return nil
	}
	e.total -= len(t.data) // the same text is counted below
	switch contentType {
	case "text/cloud-config":
		if found != formTemplate && found != formCloudConfig {
			// The type says what it is, and the header may be missing.
			t.data = append([]byte(configschema.Header+"\n"), t.data...)
			t.offset--
			e.add(Part{Name: t.name, Kind: CloudConfig, Data: t.data, Offset: t.offset})
			return nil
		}
	case "text/cloud-config-archive":
		return e.archive(t)
	case "text/x-include-url":
		return e.include(t)
	case "text/jinja2":
		return e.template(t)
	case "text/x-shellscript", "text/x-shellscript-per-instance":
		e.script(t)
		return nil
	case "", "text/plain", "text/x-not-multipart", "application/octet-stream", "application/gzip", "application/x-gzip":
	default:
		e.problem(t, 1, "parts of type "+quote(contentType)+" are not supported", "text/cloud-config, text/x-shellscript or text/x-include-url")
		return nil
	}
	return e.text(t)
}
