// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/skerry-os/skerry/daemon/install"
)

// tenths makes a flood of progress a line for each step, and for each tenth of it.
type tenths struct {
	mu   sync.Mutex
	step string
	last int64
}

// news says whether a progress is worth a line, and how far in percent it is; -1 where that isn't known.
func (t *tenths) news(p install.Progress) (percent int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	percent = -1
	if p.Total > 0 {
		percent = p.Done * 100 / p.Total
	}
	tenth := percent / 10
	if p.Step == t.step && tenth <= t.last {
		return percent, false
	}
	t.step, t.last = p.Step, tenth
	return percent, true
}

// tellLog tells of an installation in the log of the daemon, which is on the console.
func tellLog(log *slog.Logger) func(install.Progress) {
	var t tenths
	return func(p install.Progress) {
		if percent, ok := t.news(p); ok {
			log.Info(progressLine(p.Step, percent))
		}
	}
}

func progressLine(step string, percent int64) string {
	if percent < 0 {
		return "install: " + step
	}
	return fmt.Sprintf("install: %s, %d %%", step, percent)
}

// barWidth is that of a bar, in characters.
const barWidth = 40

// tellTerminal draws a bar for each step.
func tellTerminal(out io.Writer) func(install.Progress) {
	var mu sync.Mutex
	var last string
	return func(p install.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if last != "" && last != p.Step {
			fmt.Fprintln(out)
		}
		last = p.Step
		if p.Total == 0 {
			fmt.Fprintf(out, "\r%s", p.Step)
			return
		}
		filled := int(p.Done * barWidth / p.Total)
		fmt.Fprintf(out, "\r[%s%s] %3d %% %s", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), p.Done*100/p.Total, p.Step)
	}
}

// tellLines writes a line for each step, and for each tenth of it: for those who are no terminal.
func tellLines(out io.Writer) func(install.Progress) {
	var t tenths
	return func(p install.Progress) {
		if percent, ok := t.news(p); ok {
			fmt.Fprintln(out, progressLine(p.Step, percent))
		}
	}
}
