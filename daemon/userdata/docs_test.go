// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"context"
	"os"
	"regexp"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

var fenced = regexp.MustCompile("(?s)```\n((?:#include|## template).*?)```")

// everywhere is a fetcher of one text, whatever the URL.
type everywhere string

func (e everywhere) Fetch(context.Context, string, string) ([]byte, error) { return []byte(e), nil }

// TestConfigurationPage expands the forms that the page on configuration shows.
func TestConfigurationPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := fenced.FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples, want an include and a template", len(blocks))
	}
	for _, block := range blocks {
		// The page's digest is that of "hello".
		parts, err := Expand(t.Context(), Options{Data: []byte(block[1]), Fetcher: everywhere("hello"), Instance: instance})
		if err != nil {
			t.Errorf("%v\nin\n%s", err, block[1])
			continue
		}
		for _, part := range parts {
			if string(part.Data) == "hello" {
				continue
			}
			if problems := configschema.Validate(part.Name, part.Data); len(problems) > 0 {
				t.Errorf("%v\nin\n%s", problems, part.Data)
			}
		}
	}
}
