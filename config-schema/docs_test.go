// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const configurationPage = "../docs/configuration.md"

// TestConfigurationPage parses the page's cloud-configs, and merges the two that
// it says come to the third.
func TestConfigurationPage(t *testing.T) {
	page := string(read(t, configurationPage))
	var blocks []Layer
	for _, block := range fenced.FindAllStringSubmatch(page, -1) {
		layer := Layer{Name: "configuration.md", File: "configuration.md", Data: []byte(block[1])}
		if _, problems := ParseLayers([]Layer{layer}); len(problems) > 0 {
			t.Errorf("%v\nin\n%s", problems, block[1])
		}
		blocks = append(blocks, layer)
	}
	if len(blocks) != 4 {
		t.Fatalf("%d cloud-configs, want a script's permission and three layers", len(blocks))
	}
	got, problems := ParseLayers(blocks[1:3])
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want, _ := ParseLayers(blocks[3:])
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the page's layers come to %+v, not to %+v", got, want)
	}
}

// TestConfigurationPageCommandLine parses the page's words.
func TestConfigurationPageCommandLine(t *testing.T) {
	line := regexp.MustCompile(`(?m)^skerry\..*$`).FindString(string(read(t, configurationPage)))
	d := newDecoder([]Layer{CommandLineLayer(line)})
	root, ok := d.read(0)
	if !ok || root == nil || !strings.Contains(line, "node-label") {
		t.Fatalf("%q: %v", line, d.sorted())
	}
	_, problems := ParseLayers([]Layer{CommandLineLayer(line + ` skerry.cluster.token=x skerry.modules="bonding mode=4"`)})
	if len(problems) > 0 {
		t.Error(problems)
	}
}
