// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/slot"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/unit"
)

// Watch is of a boot on trial.
type Watch struct {
	*Upgrader
	// Status asks the daemon how the boot goes.
	Status func(ctx context.Context) (status.Machine, error)
	// Uptime is since the kernel has started.
	Uptime func() (time.Duration, error)
	// Reboot asks for a reboot and returns.
	Reboot func(ctx context.Context) error
	// Poll is how often the daemon is asked.
	Poll time.Duration
}

// Run watches a boot on trial until it is blessed, or the machine goes back. In any other boot it does nothing.
//
// It depends on nothing that the version on trial may have broken, but on STATE, which the initrd has mounted, and in the
// end the EFI system partition.
func (w *Watch) Run(ctx context.Context) error {
	r, err := w.record()
	if err != nil {
		w.Log.Warn("what is remembered of the upgrade can't be read, and is begun anew", "error", err)
	}
	if trying, err := w.onTrial(r); err != nil || !trying {
		return err
	}
	if r, err = w.begin(r); err != nil {
		return err
	}
	t := r.Trial
	deadline := cmp.Or(time.Duration(t.Deadline)*time.Second, DefaultTerms.Deadline)
	stable := cmp.Or(time.Duration(t.Stable)*time.Second, DefaultTerms.Stable)
	w.Log.Info(fmt.Sprintf("%s is on trial: the node has to be Ready within %s, and for %s; otherwise the machine goes back to %s",
		t.Version, deadline, stable, cmp.Or(t.From, "the version before")))
	failure, err := w.wait(ctx, deadline, stable)
	switch {
	case err != nil:
		return err
	case failure != "":
		return w.giveUp(ctx, r, failure)
	}
	return w.bless(ctx, r)
}

// begin remembers that a boot has come this far.
func (w *Watch) begin(r Record) (Record, error) {
	running, err := w.Slots.RunningRootHash()
	if err != nil {
		return Record{}, err
	}
	version, err := w.Slots.Version()
	if err != nil {
		return Record{}, err
	}
	id, err := os.ReadFile(w.path(bootIDFile))
	if err != nil {
		return Record{}, err
	}
	if r.Trial == nil || r.Trial.RootHash != running {
		// It was brought by other means.
		r.Trial = &Trial{Version: version, RootHash: running, Begun: w.Now().UTC()}
	}
	r.Trial.Installed = true
	if boot := strings.TrimSpace(string(id)); r.Trial.BootID != boot {
		r.Trial.BootID = boot
		r.Trial.Boots++
	}
	return r, w.remember(r)
}

// wait returns when the node has been Ready for long enough, or with why it wasn't in time.
func (w *Watch) wait(ctx context.Context, deadline, stable time.Duration) (failure string, err error) {
	ticker := time.NewTicker(w.Poll)
	defer ticker.Stop()
	var since time.Duration // since when the node is Ready
	ready, restarts, said := false, uint32(0), ""
	for {
		up, err := w.Uptime()
		if err != nil {
			return "", err
		}
		m, err := w.Status(ctx)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		now := err == nil && m.Ready
		switch count := allRestarts(m); {
		case now && (!ready || count != restarts):
			since, restarts = up, count
			w.Log.Info(fmt.Sprintf("the node is Ready; it has to stay so for %s", stable))
		case ready && !now:
			w.Log.Warn("the node is Ready no more: " + notReady(m, err))
		}
		ready = now
		if ready && up-since >= stable {
			return "", nil
		}
		if !ready {
			said = notReady(m, err)
		}
		if up >= deadline {
			if ready {
				said = "it was Ready only for the last " + (up - since).Round(time.Second).String()
			}
			return fmt.Sprintf("the node was not Ready for %s within %s: %s", stable, deadline, said), nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-ticker.C:
		}
	}
}

func allRestarts(m status.Machine) (n uint32) {
	for _, u := range m.Units {
		n += u.Restarts
	}
	return n
}

// notReady says what a boot hangs on.
func notReady(m status.Machine, err error) string {
	if err != nil {
		return "the daemon doesn't answer: " + err.Error()
	}
	var parts []string
	for _, p := range m.Phases {
		if p.State != phase.Pending && p.State != phase.Done {
			parts = append(parts, strings.TrimSuffix(fmt.Sprintf("phase %s is %s: %s", p.Name, p.State, p.Error), ": "))
		}
	}
	for _, u := range m.Units {
		if u.Active != "active" && u.Name != unit.Images {
			parts = append(parts, strings.TrimSuffix(fmt.Sprintf("%s is %s, %d restarts: %s", u.Name, u.Active, u.Restarts, u.Text), ": "))
		}
	}
	parts = append(parts, m.Problems...)
	if len(parts) == 0 {
		return "the daemon doesn't say why"
	}
	return strings.Join(parts, "; ")
}

// bless ends the counting.
func (w *Watch) bless(ctx context.Context, r Record) error {
	if err := w.countNoMore(ctx); err != nil {
		return fmt.Errorf("bless %s: %w", r.Trial.Version, err)
	}
	w.Log.Info(r.Trial.Version + " has proven itself, and is what this machine boots from now on")
	r.Last = w.outcome(r.Trial, Blessed, "")
	r.Trial = nil
	return w.remember(r)
}

// giveUpPatience is for a disk that doesn't answer any more: the machine is rebooted without it.
const giveUpPatience = 2 * time.Minute

// giveUp takes the attempts that are left away, and reboots, if there is a proven version to go back to.
func (w *Watch) giveUp(ctx context.Context, r Record, failure string) error {
	r.Trial.Failure = failure
	w.Log.Error(fmt.Sprintf("%s has not proven itself: %s", r.Trial.Version, failure))
	type result struct {
		stays bool
		err   error
	}
	ended := make(chan result, 1)
	within, cancel := context.WithTimeout(ctx, giveUpPatience)
	defer cancel()
	go func() {
		stays, err := w.takeAttempts(within, r)
		ended <- result{stays, err}
	}()
	var taken result
	select {
	case taken = <-ended:
	case <-within.Done(): // whatever it hangs in
		taken.err = context.Cause(within)
	}
	if taken.stays {
		w.Log.Error("there is no other version to go back to: this one goes on")
		return taken.err
	}
	if taken.err != nil {
		// systemd-boot counts down what is left by itself.
		w.Log.Error("the attempts that are left can't be taken away, and the machine will use them: " + taken.err.Error())
	}
	w.Log.Error("rebooting into " + cmp.Or(r.Trial.From, "the version before"))
	if err := w.Reboot(ctx); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	<-ctx.Done()
	return nil
}

// takeAttempts remembers why a version was given up, and leaves it no attempt. Where there is nothing to go back to, the
// version stays, with what attempts it has.
func (w *Watch) takeAttempts(ctx context.Context, r Record) (stays bool, err error) {
	err = w.remember(r)
	slots, readErr := w.Slots.Read(ctx)
	if readErr != nil {
		return false, errors.Join(err, readErr)
	}
	if other := slots.Other(); other == nil || !fallback(other, slots.Version) {
		return true, err
	}
	if uki := slots.Running().UKI; uki != nil {
		none := 0
		_, readErr = w.Slots.SetCount(*uki, &none)
	}
	return false, errors.Join(err, readErr)
}

// fallback says whether systemd-boot takes a slot once the version that runs has no attempt left: one whose boots aren't
// counted, or the newer one, which was set aside (prefer).
func fallback(other *slot.Slot, running string) bool {
	return other.State == slot.Proven || other.State == slot.Failed && slot.Compare(other.Version, running) > 0
}
