// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Milliseconds is a span of time: a number of milliseconds, or with its unit,
// such as "1s".
type Milliseconds time.Duration

// Seconds is a span of time: a number of seconds, or with its unit, such as
// "500ms".
type Seconds time.Duration

// String returns the span as systemd.time(7) has it.
func (m Milliseconds) String() string { return spanText(time.Duration(m)) }

// String returns the span as systemd.time(7) has it.
func (s Seconds) String() string { return spanText(time.Duration(s)) }

func spanText(span time.Duration) string {
	if span%time.Second == 0 {
		return strconv.FormatInt(int64(span/time.Second), 10) + "s"
	}
	return strconv.FormatInt(int64(span/time.Millisecond), 10) + "ms"
}

func (m *Milliseconds) decodeNode(d *decoder, n *yaml.Node, path string) {
	*m = Milliseconds(d.span(n, path, time.Millisecond))
}

func (s *Seconds) decodeNode(d *decoder, n *yaml.Node, path string) {
	*s = Seconds(d.span(n, path, time.Second))
}

var spanUnits = []struct {
	suffix string
	unit   time.Duration
}{{"ms", time.Millisecond}, {"s", time.Second}, {"min", time.Minute}, {"m", time.Minute}, {"h", time.Hour}}

// longestSpan is far beyond what the kernel takes for any of them.
const longestSpan = 24 * time.Hour

func (d *decoder) span(n *yaml.Node, path string, unit time.Duration) time.Duration {
	if n.Kind != yaml.ScalarNode || (n.ShortTag() != "!!int" && n.ShortTag() != "!!str") {
		d.wrongType(n, path, "a span of time", false)
		return 0
	}
	digits := n.Value
	for _, u := range spanUnits {
		if text, ok := strings.CutSuffix(n.Value, u.suffix); ok {
			digits, unit = strings.TrimSpace(text), u.unit
			break
		}
	}
	number, err := strconv.ParseUint(digits, 10, 32)
	span := time.Duration(number) * unit
	if err != nil || number > uint64(longestSpan/unit) {
		d.problem(n, path, quote(n.Value)+" is not a span of time", `such as 100, or "1s"`)
		return 0
	}
	return span
}
