// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"regexp"
	"strings"

	"github.com/sirupsen/logrus"
)

// longestLine is more than kine says of anything but values.
const longestLine = 1000

// valueText is a value in the text of a request to etcd.
var valueText = regexp.MustCompile(`value:"(?:[^"\\]|\\.)*"`)

// discreet keeps values out of what kine logs: it quotes requests that fail, with the Secret or the megabyte that is in them.
type discreet struct{}

func (discreet) Levels() []logrus.Level { return logrus.AllLevels }

func (discreet) Fire(entry *logrus.Entry) error {
	entry.Message = valueText.ReplaceAllString(entry.Message, "value:…")
	if len(entry.Message) > longestLine {
		entry.Message = strings.ToValidUTF8(entry.Message[:longestLine], "") + "…"
	}
	return nil
}

// tameLog is for kine, which logs by logrus' own logger.
func tameLog() {
	logrus.SetLevel(logrus.WarnLevel) // each start of its poll loop otherwise
	hooks := logrus.LevelHooks{}
	hooks.Add(discreet{})
	logrus.StandardLogger().ReplaceHooks(hooks)
}
