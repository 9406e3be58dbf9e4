// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// Group is a group of users.
type Group struct {
	Name    string
	Members CommaList
}

// Groups are written as cloud-init has them: a list whose items are names, or
// mappings of a name to its members; one such mapping; or one string of names
// separated by commas.
type Groups []Group

func (g *Groups) decodeNode(d *decoder, n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		d.groupMembers(n, path, g)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			at := index(path, i)
			if item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			d.places[at] = place{line: item.Line, column: item.Column}
			if item.Kind == yaml.MappingNode {
				d.groupMembers(item, at, g)
			} else if name, ok := d.text(item, at, false); ok {
				d.group(item, at, g, Group{Name: name})
			}
		}
	default:
		var names CommaList
		names.decodeNode(d, n, path)
		for _, name := range names {
			d.group(n, path, g, Group{Name: name})
		}
	}
}

func (g Group) written() any {
	if len(g.Members) == 0 {
		return g.Name
	}
	return map[string]CommaList{g.Name: g.Members}
}

// groupMembers reads a mapping of names to members.
func (d *decoder) groupMembers(n *yaml.Node, path string, g *Groups) {
	for _, e := range d.entries(n, path) {
		at := join(path, e.key)
		group := Group{Name: e.key}
		if e.node.Kind != yaml.ScalarNode || e.node.ShortTag() != "!!null" { // cloud-init's way to say: no members
			d.value(e.node, at, &group.Members)
		}
		d.group(e.name, at, g, group)
	}
}

func (d *decoder) group(n *yaml.Node, at string, g *Groups, group Group) {
	if slices.ContainsFunc(*g, func(other Group) bool { return other.Name == group.Name }) {
		d.problem(n, at, "group "+quote(group.Name)+" is listed twice", "merge the two entries")
		return
	}
	if message, hint := groupProblem(group.Name); message != "" {
		d.problem(n, at, message, hint)
		return
	}
	*g = append(*g, group)
}

// groupProblem says what is wrong with a group that users are to be in.
func groupProblem(name string) (message, hint string) {
	switch {
	case !userName.MatchString(name):
		return quote(name) + " is not a group name", "lower-case letters, digits, - and _, at most 32, not beginning with a digit or -"
	case name == "root" || name == "shadow" || name == "disk" || name == "kmem":
		return "group " + quote(name) + " is as good as being root without being asked", "use sudo"
	}
	return "", ""
}

// checkGroups makes sure that members are users there will be.
func (c *Config) checkGroups(s scope) {
	known := map[string]bool{}
	for _, u := range c.AllUsers() {
		known[u.Name] = true
	}
	names := slices.Sorted(maps.Keys(known))
	for _, g := range c.Groups {
		for _, member := range g.Members {
			if known[member] || imageUsers[member] {
				continue
			}
			hint := didYouMean(member, names)
			if hint == "" {
				hint = "add the user to users:"
			}
			s.problem(s.at("groups"), "group "+quote(g.Name)+" has the member "+quote(member)+", who is no user", hint)
			break // the list is one place
		}
	}
}
