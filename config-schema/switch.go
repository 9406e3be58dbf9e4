// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Switch is a key of K3s that is on or off. K3s makes a flag of it, whose value is
// text: true, "true", "True", 1 and "t" are the same. The words of YAML 1.1 (yes,
// on) count without quotes, as everywhere in the file.
type Switch bool

// wordsOn and wordsOff are YAML 1.1's, in lower case.
var (
	wordsOn  = []string{"true", "yes", "on"}
	wordsOff = []string{"false", "no", "off"}
)

func (v *Switch) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, "true or false", false)
		return
	}
	if on, err := strconv.ParseBool(n.Value); err == nil {
		*v = Switch(on)
		return
	}
	word := strings.ToLower(n.Value)
	on, off := slices.Contains(wordsOn, word), slices.Contains(wordsOff, word)
	if quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0; (on || off) && !quoted {
		*v = Switch(on)
		return
	}
	hint := "write true or false"
	switch {
	case on:
		hint = "write true"
	case off:
		hint = "write false"
	}
	d.problem(n, path, "expected true or false, got "+describe(n), hint)
}
