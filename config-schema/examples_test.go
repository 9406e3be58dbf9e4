// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestExamples parses what people copy.
func TestExamples(t *testing.T) {
	for _, name := range files(t, "../examples/*.yaml") {
		config, problems := Parse(filepath.Base(name), read(t, name))
		if len(problems) > 0 {
			t.Errorf("%s is refused:\n%v", name, problems)
			continue
		}
		want := Role(strings.TrimSuffix(filepath.Base(name), ".yaml"))
		if got := config.Skerry.EffectiveRole(); got != want {
			t.Errorf("%s makes a machine of role %s", name, got)
		}
		if !strings.HasPrefix(config.Skerry.Cluster.Token.Reveal(), "change-me") {
			t.Errorf("%s: the token doesn't say that it is to be changed", name)
		}
	}
}

// commented finds lines of an example that are a key turned off.
var commented = regexp.MustCompile(`(?m)^( *)# ( *[a-z_.-]+:| +- )`)

// TestExamplesTurnedOn removes the # before every key, as the examples say.
func TestExamplesTurnedOn(t *testing.T) {
	for _, name := range files(t, "../examples/*.yaml") {
		text := string(read(t, name))
		text = commented.ReplaceAllString(text, "$1$2")
		text = strings.ReplaceAll(text, "ssh-ed25519 AAAA…", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
		if _, problems := Parse(filepath.Base(name), []byte(text)); len(problems) > 0 {
			t.Errorf("%s is refused once everything is turned on:\n%v\n%s", name, problems, text)
		}
	}
}

var fenced = regexp.MustCompile("(?s)```yaml\n(#cloud-config\n.*?)```")

// TestPages parses the cloud-configs of pages that have no test of their own.
func TestPages(t *testing.T) {
	for _, page := range []string{"README.md", "docs/install.md", "docs/extensions.md"} {
		blocks := fenced.FindAllStringSubmatch(string(read(t, "../"+page)), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no cloud-config", page)
		}
		for _, block := range blocks {
			if _, problems := Parse(page, []byte(block[1])); len(problems) > 0 {
				t.Errorf("%v\nin\n%s", problems, block[1])
			}
		}
	}
}
