// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/network"
	"github.com/skerry-os/skerry/daemon/nodeaddr"
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

// settle is for how long the node's address must stay the same to count, after
// the network was changed.
const settle = 2 * time.Second

// Apply makes the machine what its configuration says now, or a file given. It
// goes on when ctx ends: who asked may have been cut off by the change.
func (b *Boot) Apply(_ context.Context, r change.Request) (*change.Result, error) {
	if err := b.beginChange(); err != nil {
		return nil, err
	}
	next := idle
	defer func() { b.setChange(next) }()

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
	keep := func() error { return errors.Join(keepIncludes(), loader.Keep(loaded)) }

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
		return nil, errors.Join(fmt.Errorf("%w; what was done was taken back", err), b.forgetRestarts())
	}
	if !bytes.Equal(environment, b.environment()) {
		result.Restarted = b.runningUnits(apply.RestartOrder([]string{unit.Containerd, unit.Control, unit.Node}))
	}
	b.restart(ctx, loaded, result, mayMove(previous, loaded))
	if err := b.setCurrent(loaded); err != nil {
		b.Log.Warn("skerry config show will not tell the truth", "error", err)
	}
	if r.Try == 0 {
		b.startLate(b.running)
		return result, b.forgetRestarts()
	}
	b.beginTrial(&trial{until: result.Until, previous: previous, units: result.Restarted, keep: keep, ended: make(chan struct{})})
	next = trying
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
		b.setChange(idle)
		return fmt.Errorf("%w; the configuration is taken back", err)
	}
	b.Log.Info("the configuration on trial is confirmed")
	b.startLate(b.running)
	b.setChange(idle)
	return b.forgetRestarts()
}

// beginTrial takes the configuration back when its time is up.
func (b *Boot) beginTrial(t *trial) {
	b.mu.Lock()
	b.trial = t
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
	back := &change.Result{Restarted: t.units}
	b.restart(b.running, t.previous, back, moves)
	for _, warning := range back.Warnings {
		b.Log.Warn(warning)
	}
	if err := errors.Join(b.setCurrent(t.previous), b.forgetRestarts()); err != nil {
		b.Log.Error("take back a configuration", "error", err)
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

// plan lists what differs, and what becomes of it.
func (b *Boot) plan(previous, loaded *config.Loaded) (*change.Result, error) {
	changes, err := changesOf(previous, loaded)
	if err != nil {
		return nil, err
	}
	sinceBoot, err := changesOf(b.booted, loaded)
	if err != nil {
		return nil, err
	}
	otherRole := previous.Config.Skerry.EffectiveRole() != loaded.Config.Skerry.EffectiveRole() ||
		b.booted.Config.Skerry.EffectiveRole() != loaded.Config.Skerry.EffectiveRole()
	result := &change.Result{DryRun: true, Changes: []change.Row{}, Restarted: []string{}}
	var units []string
	add := func(c configschema.Change) {
		o := apply.OutcomeOf(c)
		row := change.Row{Change: c, Effect: o.When, Units: b.runningUnits(o.Units), Why: o.Effect.Why}
		known := slices.ContainsFunc(sinceBoot, func(s configschema.Change) bool { return s.Path == c.Path })
		switch {
		case otherRole && strings.HasPrefix(c.Path, "skerry.cluster"):
			row.Effect, row.Units, row.Why = apply.Reboot, nil, "it waits for the other role"
		case row.Effect == apply.Reboot && o.Effect.When == apply.Reboot && !known:
			row.Effect, row.Why = apply.Now, "as it was at boot"
		case row.Effect == apply.Restart && len(row.Units) == 0:
			row.Effect = apply.Now // what would read it doesn't run here
		}
		if row.Effect == apply.Now || row.Effect == apply.Never {
			row.Units = nil
		}
		units = append(units, row.Units...)
		result.Reboot = result.Reboot || row.Effect == apply.Reboot
		result.Changes = append(result.Changes, row)
	}
	for _, c := range changes {
		add(c)
	}
	// What an earlier change has left to a reboot is still left to it.
	for _, c := range sinceBoot {
		here := slices.ContainsFunc(changes, func(now configschema.Change) bool { return now.Path == c.Path })
		if !here && apply.OutcomeOf(c).When == apply.Reboot {
			add(c)
		}
	}
	result.Restarted = append(result.Restarted, apply.RestartOrder(units)...)
	return result, nil
}

// changesOf lists the values that differ, and what isn't a value of the
// cloud-config.
func changesOf(before, after *config.Loaded) ([]configschema.Change, error) {
	from, err := before.Merged.Effective()
	if err != nil {
		return nil, err
	}
	to, err := after.Merged.Effective()
	if err != nil {
		return nil, err
	}
	changes := from.Changes(to)
	has := func(prefix string) bool {
		return slices.ContainsFunc(changes, func(c configschema.Change) bool { return strings.HasPrefix(c.Path, prefix) })
	}
	differ := func(path, before, after string) {
		changes = append(changes, configschema.Change{Path: path, Before: before, After: after})
	}
	if before.Hostname != after.Hostname && !has("hostname") && !has("fqdn") {
		differ("local-hostname", before.Hostname, after.Hostname)
	}
	if !sameNetwork(before, after) && !has("skerry.network") {
		differ("network-config", interfaces(before.Network), interfaces(after.Network))
	}
	if a, b := scripts(before), scripts(after); a != b {
		differ("scripts", a, b)
	}
	return changes, nil
}

// scripts names the scripts of a user-data, with the size that tells versions of
// one apart in most cases.
func scripts(loaded *config.Loaded) string {
	var names []string
	for _, s := range loaded.Layers.Scripts {
		names = append(names, fmt.Sprintf("%s (%d bytes)", s.Name, len(s.Data)))
	}
	return strings.Join(names, ", ")
}

func interfaces(n *configschema.Network) string {
	if n == nil {
		return "DHCP"
	}
	var names []string
	for _, i := range n.Interfaces() {
		names = append(names, i.Name)
	}
	return strings.Join(names, ", ")
}

func sameNetwork(a, b *config.Loaded) bool {
	render := func(loaded *config.Loaded) []network.File {
		if loaded.Network == nil {
			return nil
		}
		return network.Render(loaded.Network)
	}
	one, other := render(a), render(b)
	return len(one) == len(other) && (len(one) == 0 || reflect.DeepEqual(one, other))
}

// mayMove says whether the node's address may change between two configurations.
func mayMove(a, b *config.Loaded) bool {
	return !sameNetwork(a, b) || !slices.Equal(a.Config.Skerry.Cluster.NodeIP, b.Config.Skerry.Cluster.NodeIP)
}

// runningUnits are those of a list that this machine has.
func (b *Boot) runningUnits(names []string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(b.started, name) })
}

// restart gives the units their part of a configuration and restarts those that
// have a new one. The result says which, and what went wrong: that is seen in
// the status of the node, too.
func (b *Boot) restart(ctx context.Context, loaded *config.Loaded, result *change.Result, moves bool) {
	warn := func(format string, args ...any) {
		result.Warnings = append(result.Warnings, fmt.Sprintf(format, args...))
	}
	address := b.nodeAddress()
	if moves {
		found, err := b.waitAddress(ctx, loaded)
		switch {
		case err != nil:
			warn("the node has no address now (%v); Kubernetes goes on with %s: mend the network, or apply again when it is up", err, address)
		case !found.Equal(address):
			b.Log.Info("the node's address has changed", "was", address, "is", found)
			address = found
			result.Restarted = b.runningUnits(apply.RestartOrder(append(slices.Clone(result.Restarted), unit.Control, unit.Node)))
		}
	}
	b.mu.Lock()
	b.address = address
	b.mu.Unlock()
	if err := b.writeCluster(b.liveSection(loaded, address)); err != nil {
		warn("%v", err)
		return
	}
	for _, name := range result.Restarted {
		// Not with ctx: a trial whose time is up here is taken back by a restart.
		if err := unit.Restart(b.running, b.Units, name); err != nil {
			warn("%v", err)
		}
	}
}

func (b *Boot) nodeAddress() net.IP {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address
}

func (b *Boot) clusterSection() configschema.Cluster {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.section
}

// waitAddress waits for an address that stays: networkd takes the old one away a
// moment after it was told to.
func (b *Boot) waitAddress(ctx context.Context, loaded *config.Loaded) (net.IP, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(b.addressLimit, addressLimit))
	defer cancel()
	var last net.IP
	for {
		address, err := nodeaddr.Wait(ctx, loaded.Config.Skerry.Cluster, b.Log)
		if err != nil {
			return nil, err
		}
		if address.Equal(last) || len(loaded.Config.Skerry.Cluster.NodeIP) > 0 {
			return address, nil
		}
		last = address
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(cmp.Or(b.settle, settle)):
		}
	}
}

// liveSection is the cluster section without what waits for a reboot: any start
// of a unit would take that up.
func (b *Boot) liveSection(loaded *config.Loaded, address net.IP) configschema.Cluster {
	has, wanted := b.clusterSection(), loaded.Config.Skerry.Cluster
	if loaded.Config.Skerry.EffectiveRole() != b.role {
		has.NodeIP = []string{address.String()}
		return has
	}
	wanted.NodeName, wanted.WithNodeID = has.NodeName, has.WithNodeID
	wanted.DataDir, wanted.FlannelBackend = has.DataDir, has.FlannelBackend
	wanted.NodeIP = []string{address.String()}
	return wanted
}

// environment is what the units have for theirs.
func (b *Boot) environment() []byte {
	data, err := os.ReadFile(filepath.Join(b.Machine.Root, apply.ServiceEnvironment))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Log.Warn("read the environment of the units", "error", err)
	}
	return data
}

// restartFile names the units that may have another configuration than this boot
// began with: a daemon that is started again before that is settled restarts
// them, for it begins with the configuration on disk.
const restartFile = "/run/skerry/restart.json"

func (b *Boot) restartPath() string { return filepath.Join(b.Machine.Root, restartFile) }

func (b *Boot) rememberRestarts(units []string) error {
	// An address that changes restarts these, too.
	units = append(slices.Clone(units), unit.Control, unit.Node)
	data, err := json.Marshal(apply.RestartOrder(units))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.restartPath()), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(b.restartPath(), data, 0o600)
}

func (b *Boot) forgetRestarts() error {
	if err := os.Remove(b.restartPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (b *Boot) needsRestart(name string) (bool, error) {
	data, err := os.ReadFile(b.restartPath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var units []string
	if err := json.Unmarshal(data, &units); err != nil {
		return false, fmt.Errorf("read %s: %w", restartFile, err)
	}
	return slices.Contains(units, name), nil
}
