// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/network"
)

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
		row := change.Row{Change: c, Effect: o.When, Units: b.runningUnits(o.Units), Why: o.Why}
		known := slices.ContainsFunc(sinceBoot, func(s configschema.Change) bool { return s.Path == c.Path })
		switch {
		case otherRole && strings.HasPrefix(c.Path, "skerry.cluster"):
			row.Effect, row.Units, row.Why = apply.Reboot, nil, "it waits for the other role"
		case o.BootOnly && !known:
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

// waitingForReboot names what differs between the configuration and what this
// boot began with, and needs a reboot.
func (b *Boot) waitingForReboot() []string {
	b.mu.Lock()
	booted, loaded := b.booted, b.loaded
	b.mu.Unlock()
	if booted == nil || loaded == nil {
		return nil
	}
	changes, err := changesOf(booted, loaded)
	if err != nil {
		b.Log.Warn("it isn't known what waits for a reboot", "error", err)
		return nil
	}
	var keys []string
	for _, c := range changes {
		if apply.OutcomeOf(c).When == apply.Reboot {
			keys = append(keys, c.Path)
		}
	}
	// A daemon that was started again began with the configuration of now.
	const kernel = "skerry.kernel"
	waits, err := apply.KernelArgsWait(b.Machine, loaded)
	switch has := func(key string) bool { return strings.HasPrefix(key, kernel) }; {
	case errors.Is(err, apply.ErrSecureBoot):
		keys = slices.DeleteFunc(keys, has)
	case err != nil:
		b.Log.Warn("it isn't known whether the kernel's arguments wait for a reboot", "error", err)
	case waits && !slices.ContainsFunc(keys, has):
		keys = append(keys, kernel+".args")
	}
	return keys
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
