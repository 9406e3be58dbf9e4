// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"bytes"
	"strings"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

// AuthorizedKey is one line of an authorized_keys file: options, type, key and
// comment.
type AuthorizedKey string

func (k *AuthorizedKey) decodeNode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path, false)
	if !ok {
		return
	}
	line := strings.TrimSpace(text)
	switch {
	case line == "":
		d.problem(n, path, "is empty", "remove it")
		return
	case strings.ContainsAny(line, "\n\r\x00"):
		d.problem(n, path, "holds several lines", "one key an item")
		return
	case strings.Contains(line, "PRIVATE KEY"):
		d.problem(n, path, "is a private key", "use the content of the .pub file, and make a new key pair")
		return
	case strings.HasPrefix(line, "github:"), strings.HasPrefix(line, "gitlab:"),
		strings.HasPrefix(line, "gh:"), strings.HasPrefix(line, "lp:"), strings.Contains(line, "://"):
		d.problem(n, path, "is not a key but where to fetch some", "use ssh_import_id: gh:user, lp:user or an https URL")
		return
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		d.problem(n, path, "is not an SSH public key", "use the content of a .pub file, such as ssh-ed25519 AAAA… you@example.org")
		return
	}
	if key.Type() == ssh.InsecureKeyAlgoDSA { //nolint:staticcheck // named in order to refuse it
		d.problem(n, path, "is a DSA key, which sshd refuses", "make a new one with ssh-keygen -t ed25519")
		return
	}
	*k = AuthorizedKey(line)
}
