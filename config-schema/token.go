// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strings"
)

// fullToken is K3s' form with the hash of the CA, and a user or a bootstrap
// token after it.
var fullToken = regexp.MustCompile(`^K10([0-9a-f]{64})?::[^:]+(:.+)?$`)

// checkToken checks a token's form without ever repeating it.
func checkToken(s scope, key string, token Secret) {
	text := token.Reveal()
	switch {
	case strings.ContainsAny(text, " \t\r\n\x00"):
		s.problem(s.at(key), "a token has no spaces or line breaks", "")
	case strings.HasPrefix(text, "K10") && strings.Contains(text, "::") && !fullToken.MatchString(text):
		s.problem(s.at(key), "is a damaged token", "the full form is K10, 64 hexadecimal digits, ::, user, colon, password: copy all of it")
	}
}
