// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// progress tells what is going on, each line with the seconds since the start.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, began: time.Now()} }

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%7.1fs  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

// step runs one step and says when it begins and how long it took.
func (p *progress) step(name string, run func() error) error {
	p.say("%s ...", name)
	began := time.Now()
	if err := run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.say("%s: done (%.1fs)", name, time.Since(began).Seconds())
	return nil
}

// landmarks are the lines of a console that tell how far a boot is, and what of them is worth showing.
var landmarks = []struct {
	re   *regexp.Regexp
	show string // template for the match
}{
	{regexp.MustCompile(`BdsDxe: starting Boot\S+ .*`), "firmware has found the disk"},
	{regexp.MustCompile(`Linux version (\S+)`), "kernel $1"},
	{regexp.MustCompile(`systemd\[1\]: (Running in initrd|Detected first boot).*`), "$1"},
	{regexp.MustCompile(`Starting (initrd-switch-root\S*)`), "leaving the initrd"},
	{regexp.MustCompile(`skerry\[\d+\]: (.+)`), "$1"},
	{regexp.MustCompile(`^((?:[-\w]+ )?login:)$`), "login prompt"},
	{regexp.MustCompile(`(Kernel panic.*|\[FAILED\].*|BdsDxe: failed.*)`), "$1"},
}

// console shows the landmarks of a machine's console as they pass.
func (p *progress) console(m *vm.Machine, l vm.Line) {
	for _, mark := range landmarks {
		if at := mark.re.FindStringSubmatchIndex(l.Text); at != nil {
			p.say("%-9s | %s", m.Name(), mark.re.ExpandString(nil, mark.show, l.Text, at))
			return
		}
	}
}
