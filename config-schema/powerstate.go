// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// PowerState turns the machine off, or boots it again, once an instance.
type PowerState struct {
	// What to do.
	Mode string `yaml:"mode" enum:"poweroff,reboot,halt" required:"true"`
	// When: now, or a number of minutes, also written +5. The default is now.
	Delay Delay `yaml:"delay"`
	// What to tell those who are logged in.
	Message string `yaml:"message"`
	// Whether to do it at all: true or false, or a command, which says so by
	// ending without an error. A string is run with sh -c, a list as it is. The
	// default is true.
	Condition Condition `yaml:"condition"`
}

func (p *PowerState) check(s scope) {
	if strings.ContainsAny(p.Message, "\n\r\x00") || len(p.Message) > 1024 || strings.HasPrefix(p.Message, "-") {
		s.problem(s.at("message"), "a message is one line, and doesn't begin with -", "")
	}
}

func (*PowerState) unsupported(key string) (message, hint string) {
	if key == "timeout" {
		return "known cloud-init key, makes no sense here: nothing is waited for but runcmd and the node", "remove it, and use delay"
	}
	return "", ""
}

// Delay is a number of minutes.
type Delay int

var minutesShape = regexp.MustCompile(`^\+?[0-9]{1,6}$`)

func (v *Delay) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!int" {
		d.wrongType(n, path, "now or a number of minutes", false)
		return
	}
	if n.Value == "now" {
		return
	}
	minutes, err := strconv.Atoi(strings.TrimPrefix(n.Value, "+"))
	if err != nil || !minutesShape.MatchString(n.Value) {
		d.problem(n, path, quote(n.Value)+" is neither now nor a number of minutes", `such as "+5"`)
		return
	}
	*v = Delay(minutes)
}

// Condition is a truth value or a command.
type Condition struct {
	Never bool
	// Command is empty where the truth value says it all.
	Command Command
}

func (c *Condition) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		var yes bool
		d.value(n, path, &yes)
		c.Never = !yes
		return
	}
	c.Command.decodeNode(d, n, path)
}

func (c Condition) written() any {
	if len(c.Command) == 0 {
		return !c.Never
	}
	return c.Command.written()
}
