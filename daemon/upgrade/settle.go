// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"fmt"

	"github.com/skerry-os/skerry/daemon/slot"
)

// stage is how far an upgrade is that is remembered, as the disk and the boot show it:
//
//	none ──apply──▶ writing ──▶ waiting ──reboot──▶ trying ──Ready──▶ done
//	                   │ power cut                     │ deadline, or no attempt left
//	                   ▼                               ▼
//	                  cut                            fallen
type stage string

const (
	none    stage = "none"
	writing stage = "writing" // the slot is being written, or was when the power was cut
	waiting stage = "waiting" // for a reboot
	trying  stage = "trying"  // this boot is one of its attempts
	done    stage = "done"    // blessed
	fallen  stage = "fallen"  // another version runs, and no attempt is left
)

// facts are what the stage follows from.
type facts struct {
	trial   *Trial
	running string    // root hash
	counted bool      // this boot is
	uki     *slot.UKI // of the version on trial; nil where there is none
}

func (f facts) stage() stage {
	switch {
	case f.trial == nil:
		return none
	case f.running == f.trial.RootHash && (f.counted || f.uki == nil || f.uki.Left != nil):
		return trying
	case f.running == f.trial.RootHash:
		return done
	case f.uki != nil && f.uki.Left != nil && *f.uki.Left == 0:
		return fallen
	case !f.trial.Installed:
		return writing
	case f.uki == nil:
		return fallen
	}
	return waiting
}

// look finds the facts out.
func (u *Upgrader) look(r Record) (facts, error) {
	f := facts{trial: r.Trial, counted: u.counted()}
	if f.trial == nil {
		return f, nil // the EFI system partition isn't mounted for nothing
	}
	var err error
	if f.running, err = u.Slots.RunningRootHash(); err != nil {
		return f, err
	}
	ukis, err := u.Slots.UKIs()
	if err != nil {
		return f, err
	}
	for _, uki := range ukis {
		if uki.RootHash == f.trial.RootHash {
			f.uki = &uki
		}
	}
	return f, nil
}

// Settle closes an upgrade that has ended, at a boot of whatever version runs now, and returns how it ended; nil where none
// has.
func (u *Upgrader) Settle(ctx context.Context) (*Outcome, error) {
	lock, err := u.lock()
	if err != nil {
		return nil, err // its owner is busy with another one
	}
	defer lock.Close()
	r, err := u.record()
	if err != nil || r.Trial == nil {
		return nil, err
	}
	f, err := u.look(r)
	if err != nil {
		return nil, err
	}
	switch f.stage() {
	case done:
		r.Last = u.outcome(r.Trial, Blessed, "")
	case fallen:
		if err := u.countNoMore(ctx); err != nil {
			return nil, err
		}
		r.Last = u.outcome(r.Trial, FellBack, whyFallen(r.Trial))
	case writing:
		r.Last = u.outcome(r.Trial, Interrupted, "the machine went down while the slot was written; the version that ran before is untouched. skerry upgrade apply does it again")
	default:
		return nil, nil //nolint:nilnil // nothing has ended
	}
	r.Trial = nil
	return r.Last, u.remember(r)
}

func (u *Upgrader) outcome(t *Trial, result Result, reason string) *Outcome {
	if t.ByHand && result == Blessed {
		result = RolledBack
	}
	return &Outcome{Version: t.Version, From: t.From, Result: result, Reason: reason, At: u.Now().UTC()}
}

// whyFallen says why a version was given up. What it said itself is best; a version that never came as far as to say
// something is known by that.
func whyFallen(t *Trial) string {
	switch {
	case t.Failure != "":
		return t.Failure
	case t.Boots == 0:
		return fmt.Sprintf("none of its %d boots came as far as its own system: the kernel, the initrd or the root file system failed; the console of such a boot says how", attempts)
	}
	return fmt.Sprintf("its boots ended before the node was Ready, and without a word: %d of %d came as far as its own system", t.Boots, attempts)
}

// countNoMore takes away the count of the version that runs, which was set aside for an older one (prefer).
func (u *Upgrader) countNoMore(ctx context.Context) error {
	slots, err := u.Slots.Read(ctx)
	if err != nil {
		return err
	}
	if uki := slots.Running().UKI; uki != nil {
		_, err = u.Slots.SetCount(*uki, nil)
	}
	return err
}
