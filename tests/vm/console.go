// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Line is one line that a machine wrote to its serial console, without colours and other control sequences.
type Line struct {
	At   time.Duration // since power-on
	Text string
}

// Console records the serial console of one boot. It is an io.Writer for the raw bytes.
type Console struct {
	powerOn time.Time
	follow  func(Line) // may be nil

	mu      sync.Mutex // guards everything that follows
	file    io.Writer
	lines   []Line
	partial []byte // after the last newline
	partAt  time.Duration
}

// NewConsole returns a console that writes each line, with its time, to file. The clock starts now. follow, if not nil,
// is called with each complete line in order.
func NewConsole(file io.Writer, follow func(Line)) *Console {
	return &Console{powerOn: time.Now(), file: file, follow: follow}
}

// escapes are what terminals interpret and readers stumble over: CSI and OSC sequences, charset switches, bells.
var escapes = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[()][0-9A-B]|\x1b[=>78cM]|[\x00\x07\x08]`)

func plain(raw []byte) string {
	return strings.TrimRight(escapes.ReplaceAllString(strings.ReplaceAll(string(raw), "\r", ""), ""), " ")
}

// PowerOn is when the clock of this console started.
func (c *Console) PowerOn() time.Time { return c.powerOn }

// Write takes the next bytes of the console.
func (c *Console) Write(p []byte) (int, error) {
	at := time.Since(c.powerOn)
	c.mu.Lock()
	var fresh []Line
	for rest := p; len(rest) > 0; {
		if len(c.partial) == 0 {
			c.partAt = at
		}
		head, tail, whole := bytes.Cut(rest, []byte("\n"))
		c.partial = append(c.partial, head...)
		rest = tail
		if whole {
			fresh = append(fresh, c.endLineLocked())
		}
	}
	c.mu.Unlock()
	for _, l := range fresh {
		if c.follow != nil {
			c.follow(l)
		}
	}
	return len(p), nil
}

// Close records what came after the last newline.
func (c *Console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.partial) > 0 {
		c.endLineLocked()
	}
	return nil
}

func (c *Console) endLineLocked() Line {
	l := Line{At: c.partAt, Text: plain(c.partial)}
	c.partial = c.partial[:0]
	c.lines = append(c.lines, l)
	fmt.Fprintf(c.file, "%9.3f %s\n", l.At.Seconds(), l.Text)
	return l
}

// Lines returns what the console has shown so far. The last line may be unfinished: a login prompt has no newline.
func (c *Console) Lines() []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := append([]Line(nil), c.lines...)
	if text := plain(c.partial); text != "" {
		lines = append(lines, Line{At: c.partAt, Text: text})
	}
	return lines
}

// Find returns the first line that matches.
func (c *Console) Find(re *regexp.Regexp) (Line, bool) {
	for _, l := range c.Lines() {
		if re.MatchString(l.Text) {
			return l, true
		}
	}
	return Line{}, false
}

// Last returns the last line with text on it.
func (c *Console) Last() Line {
	lines := c.Lines()
	for i := len(lines) - 1; i >= 0; i-- {
		if lines[i].Text != "" {
			return lines[i]
		}
	}
	return Line{}
}
