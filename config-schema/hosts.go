// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// KeepName is false: the image has no name that could be kept.
type KeepName bool

func (k *KeepName) decodeNode(d *decoder, n *yaml.Node, path string) {
	var keep bool
	d.value(n, path, &keep)
	if keep {
		d.problem(n, path, "the image is the same for every machine, and has no name to keep",
			"remove it; without hostname: the name comes from the meta-data, or is made once and kept")
	}
}

// ManageHosts says whether the machine's own name is written to /etc/hosts. The
// zero value is yes.
type ManageHosts struct{ off bool }

// Off says whether /etc/hosts is to be left alone.
func (m ManageHosts) Off() bool { return m.off }

func (m ManageHosts) written() any { return !m.off }

func (m *ManageHosts) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, "true, false or localhost", false)
		return
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on", "localhost", "template":
	case "false", "no", "off":
		m.off = true
	default:
		d.wrongType(n, path, "true, false or localhost", false)
	}
}
