// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// schemaKeys are the keys of a section of the schema.
func schemaKeys(t *testing.T, section string) []string {
	t.Helper()
	var schema struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(configschema.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	keys := slices.Sorted(maps.Keys(schema.Defs[section].Properties))
	if len(keys) == 0 {
		t.Fatalf("the schema has no %s", section)
	}
	return slices.DeleteFunc(keys, func(key string) bool { return strings.HasSuffix(key, "+") })
}

// notKeys are rows of what isn't in the cloud-config itself.
var notKeys = []string{"local-hostname", "network-config", "scripts"}

// ofCommands are keys that commands read when they are called.
var ofCommands = []string{"skerry.upgrade"}

// TestWhy: what is said of a value that leaves isn't said of a new one.
func TestWhy(t *testing.T) {
	added := OutcomeOf(configschema.Change{Path: "mounts[0]", After: "a"})
	gone := OutcomeOf(configschema.Change{Path: "mounts[0]", Before: "a"})
	if added.Why != "" || gone.Why == "" || gone.BootOnly {
		t.Errorf("added %+v, gone %+v", added, gone)
	}
}

// TestEveryKeyHasAnEffect, and no other has one.
func TestEveryKeyHasAnEffect(t *testing.T) {
	wanted := map[string]bool{}
	for prefix, section := range map[string]string{"": "Config", "skerry.": "Skerry", "skerry.cluster.": "Cluster"} {
		for _, key := range schemaKeys(t, section) {
			if name := prefix + key; name != "skerry" && name != "skerry.cluster" {
				wanted[name] = true
			}
		}
	}
	given := map[string]bool{}
	for _, e := range Effects {
		if given[e.Key] {
			t.Errorf("%s is there twice", e.Key)
		}
		given[e.Key] = true
		known := wanted[e.Key] || slices.Contains(notKeys, e.Key)
		for key := range wanted {
			known = known || strings.HasPrefix(e.Key, key+".")
		}
		if !known {
			t.Errorf("%s is no key of the schema", e.Key)
		}
	}
	for key := range wanted {
		if !given[key] {
			t.Errorf("nothing says what a change of %s comes to", key)
		}
	}
}

// TestEffectsAreOfStages: what is true at once has a stage that makes it so, on a
// machine that is up, and what restarts has units.
func TestEffectsAreOfStages(t *testing.T) {
	live := map[string]bool{}
	for _, s := range slices.Concat(LiveStages(), LateStages()) {
		live[s.Name] = true
	}
	for _, name := range BootOnly {
		if live[name] {
			t.Errorf("stage %s is only for a boot, and runs on a machine that is up", name)
		}
		if !slices.ContainsFunc(Stages(), func(s Stage) bool { return s.Name == name }) {
			t.Errorf("there is no stage %s", name)
		}
	}
	for _, e := range Effects {
		if e.Stage != "" && !live[e.Stage] {
			t.Errorf("%s: there is no stage %s", e.Key, e.Stage)
		}
		if (e.When == Now || e.When == Instance) && e.Stage == "" && !slices.Contains(ofCommands, e.Key) {
			t.Errorf("%s: no stage makes it true", e.Key)
		}
		if (e.When == Restart) != (len(e.Units) > 0) {
			t.Errorf("%s: %s, and the units are %v", e.Key, e.When, e.Units)
		}
		if (e.When == Reboot || e.Gone != "" || e.Changed != "") && e.Why == "" && e.Key != "manage_etc_hosts" {
			t.Errorf("%s: nothing says why", e.Key)
		}
	}
}

func TestOutcome(t *testing.T) {
	for _, test := range []struct {
		path          string
		before, after any
		want          string
	}{
		{`skerry.sysctls["vm.max_map_count"]`, 1, 2, "now []"},
		{`skerry.sysctls["vm.max_map_count"]`, 1, nil, "now []"},
		{"users[1].name", nil, "a", "now []"},
		{"users[1].ssh_authorized_keys[0]", nil, "a", "now []"},
		{"hostname", "a", "b", "reboot []"},
		{"skerry.modules[0]", nil, "a", "now []"},
		{"skerry.modules[0]", "a", "b", "reboot []"},
		{"skerry.modules[0]", "a", nil, "reboot []"},
		{"skerry.cluster.node-label[0]", "a", "b", "restart [skerry-node.service]"},
		{"skerry.cluster.token", "a", "b", "restart [skerry-control.service skerry-node.service]"},
		{`skerry.registries.mirrors["docker.io"].endpoint[0]`, "a", "b", "now []"},
		{`skerry.registries.configs["r.example.org:5000"].auth.password`, "a", "b", "restart [skerry-containerd.service]"},
		{`skerry.registries.configs["a\"b"].auth.password`, "a", "b", "restart [skerry-containerd.service]"},
		{"skerry.registries.configs.r.tls.ca_file", "a", "b", "now []"},
		{"skerry.network.vlans.v4.addresses[0]", "a", "b", "now []"},
		{"skerry.network.vlans.v4.id", nil, 4, "now []"},
		{"skerry.network.vlans.v4.id", 4, 5, "reboot []"},
		{"runcmd[0]", nil, "a", "instance []"},
		{"growpart.mode", nil, "a", "never []"},
		{"a-key-of-tomorrow", nil, "a", "reboot []"},
	} {
		o := OutcomeOf(configschema.Change{Path: test.path, Before: test.before, After: test.after})
		if got := fmt.Sprintf("%s %v", o.When, o.Units); got != test.want {
			t.Errorf("%s from %v to %v: got %s, want %s", test.path, test.before, test.after, got, test.want)
		}
	}
}
