// SPDX-License-Identifier: Apache-2.0

// Package phase runs the boot as a list of named phases, in order.
//
// A phase must be re-entrant: a boot may be cut short at any point, and the
// next one runs the whole list again. The list is data, so that it can be
// printed, shown in `skerry status` and tested.
package phase

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// State of a phase. The values are part of `skerry status -o json`.
type State string

const (
	Pending State = "pending" // not begun
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed" // the phases after it stay pending
)

// Phase is one step of the boot.
type Phase struct {
	Name string // lower case, one word
	Run  func(context.Context) error
}

// Report says how a phase went.
type Report struct {
	Name  string `json:"name" yaml:"name"`
	State State  `json:"state" yaml:"state"`
	// Started is empty for a pending phase.
	Started time.Time `json:"started,omitzero" yaml:"started,omitempty"`
	// Seconds is the time the phase took, or has taken so far.
	Seconds float64 `json:"seconds" yaml:"seconds"`
	Error   string  `json:"error,omitempty" yaml:"error,omitempty"`
}

// Sequence runs phases and remembers how they went. It may be asked from other
// goroutines while it runs.
type Sequence struct {
	phases []Phase
	log    *slog.Logger
	tell   func(string)
	now    func() time.Time

	mu      sync.Mutex
	reports []Report
}

// NewSequence returns a sequence that has not run yet. tell gets a line for the
// status of the service as each phase begins; a phase that waits may say more.
func NewSequence(log *slog.Logger, tell func(string), phases ...Phase) *Sequence {
	s := &Sequence{phases: phases, log: log, tell: tell, now: time.Now}
	for _, p := range phases {
		s.reports = append(s.reports, Report{Name: p.Name, State: Pending})
	}
	return s
}

// Run runs the phases in order and stops at the first error, which names the
// phase.
func (s *Sequence) Run(ctx context.Context) error {
	for i, p := range s.phases {
		started := s.now()
		s.update(i, func(r *Report) { r.State, r.Started = Running, started })
		s.log.Info("phase " + p.Name + " started")
		s.tell("boot phase " + p.Name)
		err := p.Run(ctx)
		took := s.now().Sub(started)
		s.update(i, func(r *Report) {
			r.State, r.Seconds = Done, took.Seconds()
			if err != nil {
				r.State, r.Error = Failed, err.Error()
			}
		})
		if err != nil {
			if ctx.Err() != nil { // as at a reboot that the phase itself asked for
				s.log.Info(fmt.Sprintf("phase %s stopped after %.1fs", p.Name, took.Seconds()))
			} else {
				s.log.Error(fmt.Sprintf("phase %s failed after %.1fs", p.Name, took.Seconds()))
			}
			return fmt.Errorf("phase %s: %w", p.Name, err)
		}
		s.log.Info(fmt.Sprintf("phase %s ended (%.1fs)", p.Name, took.Seconds()))
	}
	return nil
}

// Reports returns how each phase went, in order.
func (s *Sequence) Reports() []Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := append([]Report(nil), s.reports...)
	for i := range out {
		if out[i].State == Running {
			out[i].Seconds = s.now().Sub(out[i].Started).Seconds()
		}
	}
	return out
}

func (s *Sequence) update(i int, change func(*Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.reports[i])
}
