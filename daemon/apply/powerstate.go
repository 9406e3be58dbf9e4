// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"fmt"
	"strconv"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// powerState ends the boot as the configuration has it, once in an instance. The
// stamp is written first: a machine that can't be kept on is worse than one that
// wasn't turned off.
func powerState(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	wanted := loaded.Config.PowerState
	if wanted == nil {
		return nil
	}
	file, err := m.stamp(loaded, "power_state")
	if err != nil {
		return err
	}
	if _, done, err := m.remembered(file); err != nil || done {
		return err
	}
	if err := m.remember(file, "begun"); err != nil {
		return err
	}
	yes, err := m.condition(ctx, loaded, wanted.Condition)
	if err != nil || !yes {
		return err
	}
	when := "now"
	if wanted.Delay > 0 {
		when = "+" + strconv.Itoa(int(wanted.Delay))
	}
	args := []string{"--" + wanted.Mode, when}
	if wanted.Message != "" {
		args = append(args, wanted.Message)
	}
	m.Log.Info("power_state: "+wanted.Mode, "when", when)
	if _, err := m.System.Run(ctx, "/usr/sbin/shutdown", args...); err != nil {
		return fmt.Errorf("power_state: %w", err)
	}
	return nil
}

func (m *Machine) condition(ctx context.Context, loaded *config.Loaded, c configschema.Condition) (bool, error) {
	if c.Never || len(c.Command) == 0 {
		return !c.Never, nil
	}
	environment, err := m.commandEnvironment(loaded)
	if err != nil {
		return false, err
	}
	err = m.System.Execute(ctx, c.Command, environment, func(line string) { m.Log.Info("power_state.condition: " + line) })
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		m.Log.Info("power_state: its condition doesn't hold", "reason", err)
	}
	return err == nil, nil
}
