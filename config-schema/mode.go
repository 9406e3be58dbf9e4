// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Mode is a file's permission bits, written in octal.
type Mode uint32

// String returns the mode as it is written in a file: "0644".
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// FileMode returns the mode as Go's file functions want it, with the set-id and
// sticky bits in their places.
func (m Mode) FileMode() fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, flag := range map[Mode]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

func (m *Mode) decodeNode(d *decoder, n *yaml.Node, path string) {
	text := n.Value
	// A bare 644 is the decimal number 644 to YAML, whose bits nobody means.
	// A bare 0644 is octal to YAML 1.1 and to us.
	ambiguous := n.ShortTag() == "!!int" && !strings.HasPrefix(text, "0")
	if n.Kind != yaml.ScalarNode || (n.ShortTag() != "!!str" && n.ShortTag() != "!!int") {
		d.wrongType(n, path, "an octal mode", false)
		return
	}
	bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	switch {
	case err != nil || bits > 0o7777 || text == "":
		d.problem(n, path, quote(text)+" is not an octal mode", `such as "0644"`)
	case ambiguous:
		d.problem(n, path, text+" without quotes is a decimal number", `write "0`+text+`"`)
	default:
		*m = Mode(bits)
	}
}
