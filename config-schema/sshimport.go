// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/url"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// ImportID names somebody whose SSH keys are fetched: gh:USER for a user of
// GitHub, lp:USER for one of Launchpad, or an https URL of an authorized_keys
// file.
type ImportID string

var importUser = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$`)

// URL returns where the keys are.
func (i ImportID) URL() string {
	scheme, user, _ := strings.Cut(string(i), ":")
	switch scheme {
	case "gh":
		return "https://github.com/" + user + ".keys"
	case "lp":
		return "https://launchpad.net/~" + user + "/+sshkeys"
	}
	return string(i)
}

func (i *ImportID) decodeNode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path, false)
	if !ok {
		return
	}
	scheme, user, found := strings.Cut(text, ":")
	switch {
	case scheme == "gh" && importUser.MatchString(user), scheme == "lp" && importUser.MatchString(user):
	case found && scheme == "github":
		d.problem(n, path, quote(text)+" is not a source of keys", "write gh:"+clip(user))
		return
	case scheme == "https":
		if u, err := url.Parse(text); err != nil || u.Hostname() == "" || u.User != nil || len(text) > 1024 {
			d.problem(n, path, "is not the URL of a file of keys", "such as https://example.org/ops.keys, without a password")
			return
		}
	case scheme == "http":
		d.problem(n, path, "keys must not come over a connection that anybody on the way can change", "begin it with https://")
		return
	default:
		hint := "gh:user, lp:user or an https URL"
		if importUser.MatchString(text) {
			hint = "write gh:" + clip(text) + " or lp:" + clip(text)
		}
		d.problem(n, path, quote(text)+" is not a source of keys", hint)
		return
	}
	*i = ImportID(text)
}

// ImportIDs may be written as a list, or as one string.
type ImportIDs []ImportID

func (l *ImportIDs) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode {
		var one ImportID
		one.decodeNode(d, n, path)
		*l = ImportIDs{one}
		return
	}
	for i, item := range n.Content {
		var one ImportID
		d.value(item, index(path, i), &one)
		*l = append(*l, one)
	}
}
