// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/parser"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// Instance is what is known of a machine before its configuration is. Templates
// see it as v1.local_hostname and so on, and the meta-data as ds.meta_data. What
// is empty is not defined.
type Instance struct {
	LocalHostname, InstanceID, CloudName, Region, AvailabilityZone string
	// MetaData is the data source's, of strings, numbers, truth values, lists
	// and maps.
	MetaData map[string]any
}

func (i Instance) variables() map[string]any {
	v1 := map[string]any{}
	for name, value := range map[string]string{
		"local_hostname": i.LocalHostname, "instance_id": i.InstanceID, "cloud_name": i.CloudName,
		"region": i.Region, "availability_zone": i.AvailabilityZone,
	} {
		if value != "" {
			v1[name] = value
		}
	}
	return map[string]any{"v1": v1, "ds": map[string]any{"meta_data": underscored(i.MetaData)}}
}

// underscored adds names that can be written after a dot for those that have
// hyphens: ds.meta_data.instance_id. cloud-init does so, too.
func underscored(value any) any {
	switch typed := value.(type) {
	case map[string]any:
		all := make(map[string]any, len(typed))
		for key, value := range typed {
			all[strings.ReplaceAll(key, "-", "_")] = underscored(value)
		}
		for key, value := range typed {
			all[key] = underscored(value)
		}
		return all
	case []any:
		all := make([]any, len(typed))
		for i := range typed {
			all[i] = underscored(typed[i])
		}
		return all
	}
	return value
}

// Bounds of a template. Long expressions and deep ones are what a recursive
// parser can be brought down with.
const (
	maxTemplate = 1 << 20
	maxTag      = 4 << 10
)

// templateBlocks are the blocks that a template may have. None can read another
// file, and none can loop over more than what is given.
var templateBlocks = []string{"if", "for", "set", "with", "raw", "break", "continue"}

// template renders a template, and expands what comes out.
func (e *expander) template(t text) error {
	body := bytes.TrimPrefix(t.data, byteOrderMark)
	if strings.HasPrefix(firstLine(body), templateHeader) {
		_, body, _ = bytes.Cut(body, []byte("\n"))
		t.offset++
	}
	if len(body) > maxTemplate {
		e.problem(t, 1, fmt.Sprintf("a template may have %d MiB", maxTemplate>>20), "")
		return nil
	}
	if line := longTag(body); line > 0 {
		e.problem(t, line, fmt.Sprintf("the tag is not closed, or longer than %d bytes", maxTag), "")
		return nil
	}
	rendered, line, err := render(string(body), e.instance.variables())
	if err != nil {
		e.problem(t, line, err.Error(), "v1.local_hostname, v1.instance_id, v1.cloud_name, v1.region, v1.availability_zone and ds.meta_data are known, as far as the data source tells")
		return nil
	}
	inner := t.inner(t.name, []byte(rendered))
	inner.offset = t.offset
	return e.text(inner)
}

var tagStart = regexp.MustCompile(`\{\{|\{%|\{#`)

// longTag returns the line of a tag that is too long, or 0.
func longTag(body []byte) int {
	closing := map[string]string{"{{": "}}", "{%": "%}", "{#": "#}"}
	for at := 0; ; {
		start := tagStart.FindIndex(body[at:])
		if start == nil {
			return 0
		}
		begin := at + start[0]
		end := bytes.Index(body[begin+2:], []byte(closing[string(body[begin:begin+2])]))
		if end < 0 || end > maxTag {
			return 1 + bytes.Count(body[:begin], []byte("\n"))
		}
		at = begin + 2 + end + 2
	}
}

// errorLine finds the line in the words of the template library.
var errorLine = regexp.MustCompile(`(?:at line |Line: |Line=)(\d+)`)

// render evaluates a template. The library's messages are shortened to what a
// user can do something about, and never repeat the template, which may hold
// secrets.
func render(source string, variables map[string]any) (rendered string, line int, err error) {
	// A template that brings the library down must not bring the machine down.
	defer func() {
		if recover() != nil {
			rendered, line, err = "", 1, errors.New("the template can't be evaluated")
		}
	}()
	const name = "/template"
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return "", 1, errors.New("the template can't be read")
	}
	settings := config.New()
	settings.StrictUndefined, settings.KeepTrailingNewline = true, true
	settings.TrimBlocks = true // as cloud-init has it: a line with a block alone leaves no line
	blocks := map[string]parser.ControlStructureParser{}
	for _, block := range templateBlocks {
		blocks[block], _ = builtins.ControlStructures.Get(block)
	}
	template, err := exec.NewTemplate(name, settings, loader, &exec.Environment{
		Context:           exec.EmptyContext(),
		Filters:           builtins.Filters,
		Tests:             builtins.Tests,
		Methods:           builtins.Methods,
		ControlStructures: exec.NewControlStructureSet(blocks),
	})
	if err != nil {
		return "", lineOf(err), fmt.Errorf("not a valid template: %s", lastWords(strings.ReplaceAll(err.Error(), source, "")))
	}
	out := &limited{left: configschema.MaxSize}
	if err := template.Execute(out, exec.NewContext(variables)); err != nil {
		if out.left < 0 {
			return "", 1, fmt.Errorf("the template renders to more than %d MiB", configschema.MaxSize>>20)
		}
		return "", lineOf(err), fmt.Errorf("the template can't be evaluated: %s", lastWords(err.Error()))
	}
	return out.text.String(), 0, nil
}

func lineOf(err error) int {
	if m := errorLine.FindStringSubmatch(err.Error()); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			return line
		}
	}
	return 1
}

// lastWords drops the chain of what led to an error.
func lastWords(message string) string {
	chain := strings.Split(message, ": ")
	return printable(strings.TrimSpace(strings.Join(chain[max(0, len(chain)-2):], ": ")))
}

// limited is a writer that is full at some point.
type limited struct {
	text strings.Builder
	left int
}

func (l *limited) Write(data []byte) (int, error) {
	if l.left -= len(data); l.left < 0 {
		return 0, errors.New("too large")
	}
	return l.text.Write(data)
}
