// SPDX-License-Identifier: Apache-2.0

package slot

import (
	"cmp"
	"strings"
)

// Compare orders versions as systemd-boot and systemd-sysupdate do, by the UAPI Group's Version Format Specification: it is
// negative where a is older than b. 1.0~rc1 is older than 1.0, which is older than 1.0.1.
func Compare(a, b string) int {
	for {
		a, b = skipOthers(a), skipOthers(b)
		for _, older := range []string{"~", "", "-", "^", "."} {
			if older == "" {
				if a == "" || b == "" {
					return cmp.Compare(len(a), len(b))
				}
				continue
			}
			hasA, hasB := strings.HasPrefix(a, older), strings.HasPrefix(b, older)
			if hasA != hasB {
				if hasA {
					return -1
				}
				return 1
			}
			if hasA {
				a, b = a[1:], b[1:]
			}
		}
		if isDigit(first(a)) || isDigit(first(b)) {
			var partA, partB string
			partA, a = cut(a, isDigit)
			partB, b = cut(b, isDigit)
			if (partA == "") != (partB == "") {
				return cmp.Compare(len(partA), len(partB)) // a number is newer than a word
			}
			partA, partB = strings.TrimLeft(partA, "0"), strings.TrimLeft(partB, "0")
			if c := cmp.Or(cmp.Compare(len(partA), len(partB)), cmp.Compare(partA, partB)); c != 0 {
				return c
			}
			continue
		}
		var partA, partB string
		partA, a = cut(a, isLetter)
		partB, b = cut(b, isLetter)
		if c := cmp.Compare(partA, partB); c != 0 {
			return c
		}
	}
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func first(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

// cut splits what fits from the rest.
func cut(s string, fits func(byte) bool) (part, rest string) {
	i := 0
	for i < len(s) && fits(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// skipOthers drops what has no meaning in a version.
func skipOthers(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return r > 0x7f || !isDigit(byte(r)) && !isLetter(byte(r)) && !strings.ContainsRune("~-^.", r)
	})
}
