// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// tellAfter is how long something takes before people are told that it goes on, and how often they are.
const tellAfter = 2 * time.Second

// stillAt says every other second that something isn't done yet, until it is called.
func stillAt(out io.Writer, what string) (done func()) {
	began := time.Now()
	stop := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		ticker := time.NewTicker(tellAfter)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				fmt.Fprintf(out, "%s (%s)\n", what, time.Since(began).Round(time.Second))
			}
		}
	})
	return sync.OnceFunc(func() { close(stop); told.Wait() })
}

// progress says every other second how far something is.
type progress struct {
	out  io.Writer
	next time.Time
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, next: time.Now().Add(tellAfter)}
}

func (p *progress) tell(what string, done, all int64) {
	if p.due() {
		fmt.Fprintf(p.out, "%s: %s of %s\n", what, size(done), size(all))
	}
}

// tellNumber is tell of things that are counted.
func (p *progress) tellNumber(what string, done, all int64) {
	if p.due() {
		fmt.Fprintf(p.out, "%s: %d of %d\n", what, done, all)
	}
}

func (p *progress) due() bool {
	now := time.Now()
	if !now.After(p.next) {
		return false
	}
	p.next = now.Add(tellAfter)
	return true
}
