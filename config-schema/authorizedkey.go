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
	if message, hint := authorizedKeyProblem(line); message != "" {
		d.problem(n, path, message, hint)
		return
	}
	*k = AuthorizedKey(line)
}

// CheckAuthorizedKey says what is wrong with a key that comes from somewhere
// else than a cloud-config, and nothing when it is right.
func CheckAuthorizedKey(line string) string {
	message, _ := authorizedKeyProblem(line)
	return message
}

func authorizedKeyProblem(line string) (message, hint string) {
	switch {
	case line == "":
		return "is empty", "remove it"
	case strings.ContainsAny(line, "\n\r\x00"):
		return "holds several lines", "one key an item"
	case strings.Contains(line, "PRIVATE KEY"):
		return "is a private key", "use the content of the .pub file, and make a new key pair"
	case strings.HasPrefix(line, "github:"), strings.HasPrefix(line, "gitlab:"),
		strings.HasPrefix(line, "gh:"), strings.HasPrefix(line, "lp:"), strings.Contains(line, "://"):
		return "is not a key but where to fetch some", "use ssh_import_id: gh:user, lp:user or an https URL"
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return "is not an SSH public key", "use the content of a .pub file, such as ssh-ed25519 AAAA… you@example.org"
	}
	if key.Type() == ssh.InsecureKeyAlgoDSA { //nolint:staticcheck // named in order to refuse it
		return "is a DSA key, which sshd refuses", "make a new one with ssh-keygen -t ed25519"
	}
	return "", ""
}
