// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// stillEvery is how often a long step says that it is alive.
const stillEvery = 15 * time.Second

// progress tells the user which step runs and how long each took, and keeps what the tools print in
// a file per step.
type progress struct {
	dir   string
	total int
	n     int
	begun time.Time
	log   *os.File
	stop  chan struct{}
}

func newProgress(dir string, total int) (*progress, error) {
	return &progress{dir: dir, total: total}, os.MkdirAll(dir, 0o755)
}

func (p *progress) start(name, does string) error {
	p.n++
	p.begun = time.Now()
	fmt.Printf("[%d/%d] %-7s %s\n", p.n, p.total, name, does)
	log, err := os.Create(filepath.Join(p.dir, name+".log"))
	if err != nil {
		return err
	}
	p.log, p.stop = log, make(chan struct{})
	go tickWhile(p.stop, p.begun, log.Name())
	return nil
}

// tickWhile prints a line now and then until stop is closed.
func tickWhile(stop <-chan struct{}, begun time.Time, log string) {
	tick := time.NewTicker(stillEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			last := ""
			if tail := lastLines(log, 1); len(tail) > 0 {
				last = tail[0]
			}
			fmt.Printf("        %3.0fs  %.100s\n", time.Since(begun).Seconds(), last)
		}
	}
}

func (p *progress) done(cached bool) {
	close(p.stop)
	p.log.Close()
	how := "done"
	if cached {
		how = "cached"
	}
	fmt.Printf("        %s, %.1fs\n", how, time.Since(p.begun).Seconds())
}

// failed shows the end of the step's log: most failures explain themselves there.
func (p *progress) failed() {
	close(p.stop)
	p.log.Close()
	for _, line := range lastLines(p.log.Name(), 40) {
		fmt.Fprintln(os.Stderr, "        | "+line)
	}
	fmt.Fprintf(os.Stderr, "        the whole log is %s\n", p.log.Name())
}

// lastLines returns the last n non-empty lines of a file; logs are small.
func lastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}
