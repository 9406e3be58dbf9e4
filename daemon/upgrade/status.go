// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"fmt"

	"github.com/skerry-os/skerry/daemon/slot"
)

// State is how upgrades of this machine stand. Its JSON form is the contract of `skerry upgrade status -o json`.
type State struct {
	*slot.Slots `yaml:",inline"`
	Record      `yaml:",inline"`
	// News says what goes on now, in one line; empty for nothing.
	News string `json:"news,omitempty" yaml:"news,omitempty"`
}

// Status looks at the slots and at what is remembered.
func (u *Upgrader) Status(ctx context.Context) (*State, error) {
	slots, err := u.Slots.Read(ctx)
	if err != nil {
		return nil, err
	}
	r, err := u.record()
	if err != nil {
		return nil, err
	}
	f, err := u.look(r)
	if err != nil {
		return nil, err
	}
	return &State{Slots: slots, Record: r, News: f.news()}, nil
}

// news says what a stage comes to, for people.
func (f facts) news() string {
	switch f.stage() {
	case writing:
		return fmt.Sprintf("%s is being written to the other slot", f.trial.Version)
	case waiting:
		return fmt.Sprintf("%s is installed, and is tried at the next boot", f.trial.Version)
	case trying:
		return fmt.Sprintf("%s is on trial: it is blessed once the node has been Ready for long enough", f.trial.Version)
	case fallen:
		return fmt.Sprintf("%s has failed: %s", f.trial.Version, whyFallen(f.trial))
	}
	return ""
}

// Summary is what `skerry status` shows. It doesn't look at the EFI system partition: it is asked for often.
type Summary struct {
	News string // what goes on now, in one line
	Last string // how the last upgrade ended, where that was not well
}

// Summarize reads what is remembered.
func (u *Upgrader) Summarize() (s Summary, err error) {
	r, err := u.record()
	if err != nil {
		return s, err
	}
	if r.Last != nil && r.Last.Result != Blessed && r.Last.Result != RolledBack {
		s.Last = r.Last.String()
	}
	if r.Trial == nil {
		return s, nil
	}
	running, err := u.Slots.RunningRootHash()
	switch {
	case err != nil:
		return s, err
	case running == r.Trial.RootHash:
		s.News = fmt.Sprintf("%s is on trial", r.Trial.Version)
	case r.Trial.Installed:
		s.News = fmt.Sprintf("%s is tried at the next boot", r.Trial.Version)
	default:
		s.News = fmt.Sprintf("%s is being written to the other slot", r.Trial.Version)
	}
	return s, nil
}
