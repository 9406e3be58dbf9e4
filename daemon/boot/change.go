// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/unit"
)

// changeState is what a running machine is being changed by. One at a time: two
// would each render half of it.
//
//	idle ──apply──▶ applying ──▶ idle                  applied, or as it was
//	                applying ──▶ trying                with --try
//	                             trying ──confirm──▶ applying ──▶ idle
//	                             trying ──time is up──▶ reverting ──▶ idle
type changeState string

const (
	idle      changeState = ""
	applying  changeState = "applying"
	trying    changeState = "trying"
	reverting changeState = "reverting"
)

// trial is a configuration that is taken back unless it is confirmed. Nothing of
// it is on STATE: a machine that is booted meanwhile has the one before, and so
// has a daemon that is started again.
type trial struct {
	until    time.Time
	previous *config.Loaded
	units    []string
	keep     func() error
	ended    chan struct{} // closed when it is confirmed
}

// Apply makes the machine what its configuration says now, or a file given. It
// goes on when ctx ends: who asked may have been cut off by the change.
func (b *Boot) Apply(_ context.Context, r change.Request) (*change.Result, error) {
	if err := b.beginChange(); err != nil {
		return nil, err
	}
	onTrial := false
	defer func() {
		if !onTrial {
			b.setChange(idle)
		}
	}()

	loader, keepIncludes, err := b.looker(r)
	if err != nil {
		return nil, err
	}
	loaded, err := loader.Load(b.running)
	var problems configschema.Problems
	if errors.As(err, &problems) {
		return nil, &change.Failure{Message: fmt.Sprintf("%d problem(s); nothing was changed", len(problems)), Problems: problems}
	}
	if err == nil {
		err = b.sameInstance(loaded)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	previous := b.current()
	result, err := b.plan(previous, loaded)
	if err != nil || r.DryRun {
		return result, err
	}
	result.DryRun = false
	keep := func() error {
		// What can fail comes before what the next boot begins with.
		if err := apply.WriteKernelArgs(b.Machine, loaded); err != nil {
			return err
		}
		return errors.Join(keepIncludes(), loader.Keep(loaded))
	}

	ctx := b.running
	if r.Try > 0 {
		result.Until = time.Now().Add(r.Try)
		deadline, cancel := context.WithDeadline(b.running, result.Until)
		defer cancel()
		ctx = deadline
	}
	b.Log.Info("a configuration is applied", "source", loaded.Document.Name, "changes", len(result.Changes), "try", r.Try)
	if err := b.rememberRestarts(result.Restarted); err != nil {
		return nil, err
	}
	environment := b.environment()
	err = b.apply(ctx, apply.LiveStages(), loaded)
	if err == nil && r.Try == 0 {
		err = keep()
	}
	if err != nil {
		b.Log.Error("the configuration can't be applied, and is taken back", "error", err)
		b.applyAs(b.running, apply.LiveStages(), previous)
		b.restoreKernelArgs(previous)
		return nil, errors.Join(fmt.Errorf("%w; what was done was taken back", err), b.settled())
	}
	if !bytes.Equal(environment, b.environment()) {
		result.Restarted = b.runningUnits(apply.RestartOrder([]string{unit.Containerd, unit.Control, unit.Node}))
	}
	_, result.Warnings = b.extensionStatus()
	b.restart(ctx, loaded, result, mayMove(previous, loaded))
	if err := b.setCurrent(loaded); err != nil {
		b.Log.Warn("skerry config show will not tell the truth", "error", err)
	}
	if r.Try == 0 {
		b.startLate(b.running)
		return result, b.settled()
	}
	b.beginTrial(&trial{until: result.Until, previous: previous, units: result.Restarted, keep: keep, ended: make(chan struct{})})
	onTrial = true
	return result, nil
}

// Confirm keeps the configuration that is on trial.
func (b *Boot) Confirm(context.Context) error {
	b.mu.Lock()
	t := b.trial
	if b.change != trying {
		b.mu.Unlock()
		return &change.Failure{Message: "no configuration is on trial: it was confirmed or taken back"}
	}
	b.change, b.trial = applying, nil
	b.mu.Unlock()
	close(t.ended)
	if err := t.keep(); err != nil {
		b.revert(t)
		b.restoreKernelArgs(t.previous)
		b.setChange(idle)
		return fmt.Errorf("%w; the configuration is taken back", err)
	}
	b.Log.Info("the configuration on trial is confirmed")
	b.startLate(b.running)
	err := b.settled()
	b.setChange(idle)
	return err
}

// beginTrial takes the configuration back when its time is up.
func (b *Boot) beginTrial(t *trial) {
	b.mu.Lock()
	b.change, b.trial = trying, t
	b.mu.Unlock()
	b.Log.Info("the configuration is on trial", "until", t.until.Format(time.TimeOnly))
	go func() {
		timer := time.NewTimer(time.Until(t.until))
		defer timer.Stop()
		select {
		case <-t.ended:
			return
		case <-b.running.Done():
			return // the next daemon, or the next boot, begins with the one before
		case <-timer.C:
		}
		b.mu.Lock()
		over := b.trial == t && b.change == trying
		if over {
			b.change, b.trial = reverting, nil
		}
		b.mu.Unlock()
		if !over {
			return
		}
		b.Log.Warn("the configuration on trial was not confirmed, and is taken back")
		b.revert(t)
		b.Log.Info("the machine has the configuration that it had before")
		b.setChange(idle)
	}()
}

// revert goes back to the configuration before a trial. What fails is for the
// log: the rest is done all the same.
func (b *Boot) revert(t *trial) {
	moves := mayMove(b.current(), t.previous)
	b.applyAs(b.running, apply.LiveStages(), t.previous)
	b.restart(b.running, t.previous, &change.Result{Restarted: t.units}, moves)
	if err := errors.Join(b.setCurrent(t.previous), b.settled()); err != nil {
		b.Log.Error("take back a configuration", "error", err)
	}
}

// restoreKernelArgs takes back what a configuration that wasn't kept has left to
// the next boot. What fails here is made right by that boot.
func (b *Boot) restoreKernelArgs(previous *config.Loaded) {
	if err := apply.WriteKernelArgs(b.Machine, previous); err != nil {
		b.Log.Error("take back the kernel's arguments", "error", err)
	}
}

// beginChange says why the machine can't be changed now, or that it is.
func (b *Boot) beginChange() error {
	if err := b.booting(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.change {
	case trying:
		return &change.Failure{Busy: true, Message: fmt.Sprintf("a configuration is on trial until %s: "+
			"keep it with skerry config apply --confirm, or wait until it is taken back", b.trial.until.Format(time.TimeOnly))}
	case reverting:
		return &change.Failure{Busy: true, Message: "the last configuration on trial is being taken back: wait a moment"}
	case applying:
		return &change.Failure{Busy: true, Message: "another skerry config apply is at work on this machine: wait until it has ended"}
	}
	b.change = applying
	return nil
}

func (b *Boot) setChange(state changeState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.change = state
}

// booting refuses while the boot itself applies the configuration. A node that
// isn't Ready yet is no hindrance: what it waits for may be what is changed.
func (b *Boot) booting() error {
	for _, p := range b.sequence.Reports() {
		switch {
		case p.State == phase.Failed:
			return &change.Failure{Message: fmt.Sprintf("the boot has failed in its phase %s: %s; mend that and reboot", p.Name, p.Error)}
		case p.Name == clusterPhase && p.State != phase.Pending:
			return nil
		case p.State != phase.Done:
			return &change.Failure{Busy: true, Message: fmt.Sprintf("the boot has not ended: it is in its phase %s; see skerry status", p.Name)}
		}
	}
	return nil
}

// looker loads the configuration as a boot does, and leaves it to others to keep
// it.
func (b *Boot) looker(r change.Request) (loader *config.Loader, keepIncludes func() error, err error) {
	sources, err := b.Sources()
	if err != nil {
		return nil, nil, fmt.Errorf("find the sources of the cloud-config: %w", err)
	}
	around, keepIncludes := b.Around.Held()
	loader = &config.Loader{Sources: sources, Around: around, Log: b.Log, Look: true}
	if r.Name != "" {
		loader.Instead = &config.Instead{Name: r.Name, Data: r.UserData}
	}
	return loader, keepIncludes, nil
}

// sameInstance refuses the configuration of another machine: it begins with an
// identity of its own, at a boot.
func (b *Boot) sameInstance(loaded *config.Loaded) error {
	if loaded.InstanceID == "" {
		return nil
	}
	made, err := identity.Instance(b.StateDir)
	if err != nil || made == "" || made == loaded.InstanceID {
		return err
	}
	return fmt.Errorf("%s says that this is instance %q, and it was %q until now: reboot, and the machine gets the identity of a new one",
		loaded.Document.Name, loaded.InstanceID, made)
}
