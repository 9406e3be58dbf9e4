// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strings"
	"testing"
)

func TestSwitch(t *testing.T) {
	for text, want := range map[string]string{
		"true": "true", "True": "true", "tRUE": "true", "yes": "true", "ON": "true", "1": "true", "t": "true",
		`"true"`: "true", `'True'`: "true", `"TRUE"`: "true", `"1"`: "true", `"t"`: "true",
		"false": "false", "no": "false", "Off": "false", "0": "false", "F": "false",
		`"false"`: "false", `'FALSE'`: "false", `"0"`: "false",

		`"yes"`:    `expected true or false, got the string "yes" (write true)`,
		`"off"`:    `expected true or false, got the string "off" (write false)`,
		`"tRUE"`:   `expected true or false, got the string "tRUE" (write true)`,
		`""`:       `expected true or false, got the string "" (write true or false)`,
		`" true"`:  `expected true or false, got the string " true" (write true or false)`,
		"enabled":  `expected true or false, got the string "enabled" (write true or false)`,
		"2":        `expected true or false, got the number 2 (write true or false)`,
		"1.0":      `expected true or false, got the number 1.0 (write true or false)`,
		"[true]":   "expected true or false, got a list",
		"{a: 1}":   "expected true or false, got a mapping",
		"":         "has no value (remove the key or give it a value)",
		"!!null x": "has no value (remove the key or give it a value)",
	} {
		c, problems := ParseCluster("config.yaml", []byte("with-node-id: "+text+"\n"))
		switch {
		case want == "true" || want == "false":
			if len(problems) > 0 || bool(c.WithNodeID) != (want == "true") {
				t.Errorf("%s: %v, %v", text, c, problems)
			}
		case len(problems) != 1 || !strings.HasSuffix(problems[0].String(), "with-node-id: "+want):
			t.Errorf("%s: %v, want %s", text, problems, want)
		}
	}
}

// TestSwitchOnTheCommandLine: a key without a value is true there.
func TestSwitchOnTheCommandLine(t *testing.T) {
	for line, want := range map[string]Switch{
		"skerry.cluster.with-node-id": true, "skerry.cluster.with-node-id=true": true, "skerry.cluster.with-node-id='true'": true,
		"skerry.cluster.with-node-id=0": false,
	} {
		config, problems := ParseLayers([]Layer{CommandLineLayer(line)})
		if len(problems) > 0 {
			t.Errorf("%s: %v", line, problems)
		} else if got := config.Skerry.Cluster.WithNodeID; got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}
