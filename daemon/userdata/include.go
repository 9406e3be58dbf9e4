// SPDX-License-Identifier: Apache-2.0

package userdata

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// maxIncludes is how many URLs one user-data may lead to.
const maxIncludes = 20

// digestMark is between an URL and the digest of what is expected there. It
// begins a fragment, which is never sent to a server.
const digestMark = "#sha256="

var digestShape = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// include expands what the URLs of a list lead to, in their order. Blank lines
// and lines that begin with # are passed over, but for an URL beside #include.
func (e *expander) include(t text) error {
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(t.data), string(byteOrderMark))) {
		number++
		line = strings.TrimSpace(line)
		if number == 1 {
			line = strings.TrimSpace(strings.TrimPrefix(line, includeHeader))
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		address, digest, message, hint := parseInclude(line)
		if message != "" {
			e.problem(t, number, message, hint)
			continue
		}
		if e.full {
			return nil
		}
		if e.includes++; e.includes > maxIncludes {
			e.full = true
			e.problem(t, number, fmt.Sprintf("with this, the user-data includes more than %d URLs", maxIncludes), "")
			return nil
		}
		if err := e.fetch(t, number, address, digest); err != nil {
			return err
		}
	}
	return nil
}

func parseInclude(line string) (address *url.URL, digest, message, hint string) {
	plain, digest, pinned := strings.Cut(line, digestMark)
	address, err := url.Parse(plain)
	switch {
	case err != nil || address.Host == "":
		return nil, "", "is not an URL", "one URL a line, such as https://example.org/users.yaml"
	case address.Scheme != "https" && address.Scheme != "http":
		return nil, "", "only https:// and http:// can be included", ""
	case address.Fragment != "":
		return nil, "", "an URL must not have a fragment", "a digest is written " + digestMark + "HEX"
	case pinned && !digestShape.MatchString(digest):
		return nil, "", "the digest is not 64 hexadecimal digits", "sha256sum prints it"
	}
	return address, strings.ToLower(digest), "", ""
}

func (e *expander) fetch(t text, line int, address *url.URL, digest string) error {
	name := displayURL(address)
	data, err := []byte(nil), ErrUnfetched
	if e.fetcher != nil {
		data, err = e.fetcher.Fetch(e.ctx, address.String(), digest)
	}
	if errors.Is(err, ErrUnfetched) {
		e.add(Part{Name: name, Kind: Unfetched})
		return nil
	}
	if err != nil {
		return fmt.Errorf("include %s (%s, line %d): %w", name, t.name, line+t.offset, err)
	}
	if digest != "" {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
			e.problem(t, line, "what is at "+name+" doesn't have the digest that is given here",
				"it has "+hex.EncodeToString(sum[:]))
			return nil
		}
	}
	return e.text(t.inner(name, data))
}

// displayURL is an URL without what may be secret: user, password and query.
func displayURL(address *url.URL) string {
	shown := url.URL{Scheme: address.Scheme, Host: address.Host, Path: address.Path}
	return printable(shown.String())
}
