// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/slot"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/unit"
)

// onTrial is a machine with 1.1.0 on trial, in its first attempt.
func onTrial(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	if _, err := m.Apply(t.Context(), folder(m.payload("1.1.0")), Choice{}); err != nil {
		t.Fatal(err)
	}
	m.renameUKI("skerry_1.1.0+3-0.efi", "skerry_1.1.0+2-1.efi")
	m.boot("1.1.0", true)
	return m
}

// watch is of a trial in which a poll takes no time, and a second passes with each.
func watch(m *machine, say func(second int) (status.Machine, error)) (w *Watch, reboots *int, stop context.CancelFunc, ctx context.Context) {
	ctx, stop = context.WithCancel(m.t.Context())
	second := 0
	reboots = new(int)
	return &Watch{
		Upgrader: m.Upgrader,
		Status: func(context.Context) (status.Machine, error) {
			second++
			return say(second)
		},
		Uptime: func() (time.Duration, error) { return time.Duration(second) * time.Second, nil },
		Reboot: func(context.Context) error { *reboots++; stop(); return nil },
		Poll:   time.Nanosecond,
	}, reboots, stop, ctx
}

// blessed is a machine whose 1.1.0 was blessed in the boot that goes on, which systemd-boot has counted.
func blessed(t *testing.T) *machine {
	t.Helper()
	m := onTrial(t)
	w, _, stop, ctx := watch(m, func(int) (status.Machine, error) { return ready(0), nil })
	defer stop()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAfterBlessing: in the boot that has blessed a version, the next one may come, and the one before come back, on trial.
func TestAfterBlessing(t *testing.T) {
	m := blessed(t)
	if to, err := m.Rollback(t.Context()); err != nil || to != "1.0.0" {
		t.Fatalf("the way back goes to %q: %v", to, err)
	}
	if r := m.remembered(); r.Trial == nil || r.Trial.Version != "1.0.0" || r.Trial.From != "1.1.0" || !r.Trial.ByHand {
		t.Errorf("remembered of the way back is %+v", r.Trial)
	}
	if got, want := m.ukis(), "skerry_1.0.0+3.efi skerry_1.1.0+0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}

	m = blessed(t)
	if _, err := m.Apply(t.Context(), folder(m.payload("1.2.0")), Choice{}); err != nil {
		t.Fatal(err)
	}
	if got, want := m.ukis(), "skerry_1.1.0.efi skerry_1.2.0+3-0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
}

func ready(restarts uint32) status.Machine {
	return status.Machine{Ready: true, Units: []unit.Status{{Name: unit.Node, Active: "active", Restarts: restarts}}}
}

func TestBlessed(t *testing.T) {
	m := onTrial(t)
	asked := 0
	w, reboots, stop, ctx := watch(m, func(second int) (status.Machine, error) {
		asked = second
		switch {
		case second < 10:
			return status.Machine{}, errors.New("no daemon yet")
		case second == 50: // a break
			return status.Machine{}, nil
		case second < 100:
			return ready(0), nil
		}
		return ready(1), nil // a unit was started again in between
	})
	defer stop()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if asked < 160 || *reboots > 0 {
		t.Errorf("blessed after %d seconds, with %d reboots", asked, *reboots)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi skerry_1.1.0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
	r := m.remembered()
	if r.Trial != nil || r.Last == nil || r.Last.Result != Blessed || r.Last.Version != "1.1.0" || r.Last.From != "1.0.0" {
		t.Errorf("remembered is %+v", r)
	}
	if s, err := m.Summarize(); err != nil || s != (Summary{}) {
		t.Errorf("the summary is %+v, %v", s, err)
	}
	// The next upgrade writes the slot of 1.0.0.
	m.boot("1.1.0", false)
	if _, err := m.Apply(t.Context(), folder(m.payload("1.2.0")), Choice{}); err != nil {
		t.Fatal(err)
	}
	if got, want := m.ukis(), "skerry_1.1.0.efi skerry_1.2.0+3-0.efi"; got != want || m.parts["root-a"].label != "skerry_1.2.0" {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
}

// TestNeverReady goes back at the deadline, and the reason is there in the version before.
func TestNeverReady(t *testing.T) {
	m := onTrial(t)
	w, reboots, stop, ctx := watch(m, func(int) (status.Machine, error) {
		return status.Machine{
			Phases: []phase.Report{{Name: "early", State: phase.Done}, {Name: "cluster", State: phase.Running}, {Name: "x", State: phase.Pending}},
			Units: []unit.Status{{Name: unit.Images, Active: "inactive"}, {Name: unit.Control, Active: "active"},
				{Name: unit.Node, Active: "activating", Restarts: 7, Text: "no kubelet"}},
		}, nil
	})
	defer stop()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi skerry_1.1.0+0.efi"; got != want || *reboots != 1 {
		t.Errorf("the UKIs are %s, want %s; %d reboots", got, want, *reboots)
	}
	m.boot("1.0.0", false)
	outcome, err := m.Settle(t.Context())
	if err != nil || outcome == nil {
		t.Fatalf("it ended as %v, %v", outcome, err)
	}
	const want = "1.1.0 fell back to 1.0.0: the node was not Ready for 1m0s within 15m0s: phase cluster is running; " +
		"skerry-node.service is activating, 7 restarts: no kubelet"
	if outcome.String() != want || outcome.Result != FellBack {
		t.Errorf("got  %s\nwant %s", outcome, want)
	}
	if s, err := m.Summarize(); err != nil || s.Last != want || s.News != "" {
		t.Errorf("the summary is %+v, %v", s, err)
	}
	if again, err := m.Settle(t.Context()); again != nil || err != nil {
		t.Errorf("it ended again: %v, %v", again, err)
	}
	if o, err := m.Check(t.Context(), folder(m.payload("1.1.0"))); err != nil || o.Failed == "" {
		t.Errorf("the offer of the same is %+v, %v", o, err)
	}
	// A failed upgrade doesn't spoil the next good one.
	if _, err := m.Apply(t.Context(), folder(m.payload("1.1.1")), Choice{}); err != nil {
		t.Fatal(err)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi skerry_1.1.1+3-0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
}

// TestUnbootable: a version that never came as far as to say something is told by systemd-boot's count.
func TestUnbootable(t *testing.T) {
	m := onTrial(t)
	m.renameUKI("skerry_1.1.0+2-1.efi", "skerry_1.1.0+0-3.efi")
	m.boot("1.0.0", false)
	outcome, err := m.Settle(t.Context())
	if err != nil || outcome == nil || outcome.Result != FellBack || !strings.Contains(outcome.Reason, "none of its 3 boots") {
		t.Errorf("it ended as %v, %v", outcome, err)
	}
}

// TestWaits: what was installed and not booted is no failure, and another boot of the old version changes nothing.
func TestWaits(t *testing.T) {
	m := newMachine(t)
	if _, err := m.Apply(t.Context(), folder(m.payload("1.1.0")), Choice{}); err != nil {
		t.Fatal(err)
	}
	if outcome, err := m.Settle(t.Context()); outcome != nil || err != nil {
		t.Errorf("it ended as %v, %v", outcome, err)
	}
	if s, err := m.Summarize(); err != nil || s.News != "1.1.0 is tried at the next boot" {
		t.Errorf("the summary is %+v, %v", s, err)
	}
}

// TestNoWayBack: without a version to go back to, a reboot would help nobody.
func TestNoWayBack(t *testing.T) {
	m := onTrial(t)
	if err := m.Slots.RemoveUKI(slot.UKI{File: "skerry_1.0.0.efi"}); err != nil {
		t.Fatal(err)
	}
	w, reboots, stop, ctx := watch(m, func(int) (status.Machine, error) { return status.Machine{}, nil })
	defer stop()
	if err := w.Run(ctx); err != nil || *reboots > 0 {
		t.Errorf("%v, %d reboots", err, *reboots)
	}
	if !strings.Contains(m.log.String(), "no other version to go back to") {
		t.Errorf("it says %s", m.log.String())
	}
}

// TestNoTrial: a boot that isn't counted, or is of the version that was set aside, is watched by nobody.
func TestNoTrial(t *testing.T) {
	m := newMachine(t)
	w, _, stop, ctx := watch(m, func(int) (status.Machine, error) {
		t.Error("the daemon was asked")
		return status.Machine{}, nil
	})
	defer stop()
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := m.Apply(t.Context(), folder(m.payload("0.9.0")), Choice{Downgrade: true}); err != nil {
		t.Fatal(err)
	}
	m.renameUKI("skerry_0.9.0+3-0.efi", "skerry_0.9.0+0-3.efi")
	m.renameUKI("skerry_1.0.0+0.efi", "skerry_1.0.0+0-1.efi")
	m.boot("1.0.0", true)
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
	if outcome, err := m.Settle(t.Context()); err != nil || outcome == nil || outcome.Result != FellBack {
		t.Errorf("it ended as %v, %v", outcome, err)
	}
	if got, want := m.ukis(), "skerry_0.9.0+0-3.efi skerry_1.0.0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
}

// TestRollback goes to the version before by hand, which has to prove itself, too.
func TestRollback(t *testing.T) {
	m := newMachine(t)
	if _, err := m.Rollback(t.Context()); err == nil || !strings.Contains(err.Error(), "the other slot is empty") {
		t.Errorf("without another version: %v", err)
	}
	m.put("b", "1.1.0")
	m.addUKI("skerry_1.1.0.efi", "1.1.0")
	m.boot("1.1.0", false)
	to, err := m.Rollback(t.Context())
	if err != nil || to != "1.0.0" {
		t.Fatalf("to %s: %v", to, err)
	}
	if got, want := m.ukis(), "skerry_1.0.0+3.efi skerry_1.1.0+0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
	m.renameUKI("skerry_1.0.0+3.efi", "skerry_1.0.0+2-1.efi")
	m.boot("1.0.0", true)
	w, _, stop, ctx := watch(m, func(int) (status.Machine, error) { return ready(0), nil })
	defer stop()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi skerry_1.1.0+0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
	if r := m.remembered(); r.Last == nil || r.Last.Result != RolledBack {
		t.Errorf("remembered is %+v", r.Last)
	}
}

// TestRollbackOfTrial gives up what is on trial.
func TestRollbackOfTrial(t *testing.T) {
	m := onTrial(t)
	if to, err := m.Rollback(t.Context()); err != nil || to != "1.0.0" {
		t.Fatalf("to %s: %v", to, err)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi skerry_1.1.0+0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
	m.boot("1.0.0", false)
	if outcome, err := m.Settle(t.Context()); err != nil || outcome == nil || !strings.Contains(outcome.Reason, "by hand") {
		t.Errorf("it ended as %v, %v", outcome, err)
	}
	if _, err := m.Rollback(t.Context()); err == nil || !strings.Contains(err.Error(), "fell back from") {
		t.Errorf("to the version that failed: %v", err)
	}
}

// TestStages has each way that a trial can stand.
func TestStages(t *testing.T) {
	trial := &Trial{RootHash: "b", Installed: true}
	half := &Trial{RootHash: "b"}
	left := func(n int) *slot.UKI { return &slot.UKI{Left: &n} }
	for want, all := range map[stage][]facts{
		none:    {{}, {running: "a", counted: true}},
		writing: {{trial: half, running: "a"}, {trial: half, running: "a", uki: left(3)}},
		waiting: {{trial: trial, running: "a", uki: left(3)}, {trial: trial, running: "a", uki: left(1), counted: true}},
		trying:  {{trial: trial, running: "b", uki: left(0), counted: true}, {trial: half, running: "b", uki: left(2), counted: true}},
		done:    {{trial: trial, running: "b", uki: &slot.UKI{}}},
		fallen:  {{trial: trial, running: "a", uki: left(0)}, {trial: trial, running: "a"}, {trial: trial, running: "a", uki: left(0), counted: true}},
	} {
		for _, f := range all {
			if got := f.stage(); got != want {
				t.Errorf("%+v: got %s, want %s", f, got, want)
			}
		}
	}
}
