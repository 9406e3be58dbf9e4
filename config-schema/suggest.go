// SPDX-License-Identifier: Apache-2.0

package configschema

import "strings"

// didYouMean returns a hint that names the known word nearest to what was
// written, or nothing when none is near.
func didYouMean(written string, known []string) string {
	plain := fold(written)
	best, distance := "", max(1, min(len(plain), 12)/3)+1
	for _, word := range known {
		if d := editDistance(plain, fold(word), distance); d < distance {
			best, distance = word, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + quote(best) + "?"
}

// fold removes what people confuse most: case, and the ways to join words.
func fold(word string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(clip(word)))
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between two words. It gives up at limit.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return min(row[len(b)], limit)
}
