// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// ParseNetworkConfig reads cloud-init's network-config, version 1 or 2, in YAML
// or JSON, with or without the key network around it. Either the network is
// returned, or every problem of the file. A file that says `config: disabled`,
// or nothing at all, describes nothing: what the image does holds.
func ParseNetworkConfig(file string, data []byte) (*Network, Problems) {
	d := newDecoder([]Layer{{Name: file, File: file, Data: data, Form: standalone}})
	d.plainSecrets = true
	parsed := new(networkConfig)
	d.document(parsed)
	return d.network(&parsed.network)
}

func (d *decoder) network(n *Network) (*Network, Problems) {
	if len(d.problems) > 0 {
		return nil, d.sorted()
	}
	return n, nil
}

// networkConfig is the file, whatever its form.
type networkConfig struct{ network Network }

func (c *networkConfig) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of keys and values", false)
		return
	}
	entries := d.entries(n, path)
	if path == "" && len(entries) == 1 && entries[0].key == "network" && !isNull(entries[0].node) {
		d.value(entries[0].node, "network", c)
		return
	}
	if i := slices.IndexFunc(entries, func(e entry) bool { return e.key == "config" }); i >= 0 && isDisabled(entries[i].node) {
		return
	}
	i := slices.IndexFunc(entries, func(e entry) bool { return e.key == "version" })
	if i < 0 {
		if len(entries) > 0 {
			d.problem(n, path, "the key \"version\" is missing", "add version: 1 or version: 2, whichever form this is")
		}
		return
	}
	var version int
	at := join(path, "version")
	d.value(entries[i].node, at, &version)
	if d.places[at].unsound {
		return
	}
	rest := without(entries, i)
	rest.Line, rest.Column = n.Line, n.Column
	switch version {
	case 1:
		var v1 networkV1
		d.value(rest, path, &v1)
		if len(d.problems) == 0 {
			v1.translate(d, path, &c.network)
		}
	case 2:
		d.value(rest, path, &c.network)
	default:
		d.problem(entries[i].node, at, "this version is not known", "1 or 2")
	}
}

func isDisabled(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "disabled"
}

// without returns the mapping of the entries but one.
func without(entries []entry, i int) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for k, e := range entries {
		if k != i {
			m.Content = append(m.Content, e.name, e.node)
		}
	}
	return m
}
