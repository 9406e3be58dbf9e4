// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"fmt"
	"strconv"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// bootCommands runs bootcmd, once in each boot. The boot goes on after a command
// that fails, as with cloud-init: people write tests there that end with 1.
func bootCommands(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	commands := loaded.Config.BootCmd
	if len(commands) == 0 {
		return nil
	}
	return m.oncePerBoot("bootcmd", func() error {
		for i, command := range commands {
			if err := m.command(ctx, loaded, fmt.Sprintf("bootcmd[%d]", i), command); err != nil {
				return err
			}
		}
		return nil
	})
}

// allBegun is what runcmd's stamp holds when there is nothing left to run.
const allBegun = "done"

// runCommands runs runcmd, once in each instance. The stamp counts the commands
// begun, and is written before each: one that reboots the machine must not do
// so at every boot.
func runCommands(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	commands := loaded.Config.RunCmd
	if len(commands) == 0 {
		return nil
	}
	file, err := m.stamp(loaded, "runcmd")
	if err != nil {
		return err
	}
	text, _, err := m.remembered(file)
	if err != nil || text == allBegun {
		return err
	}
	begun := 0
	if text != "" {
		if begun, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
	for ; begun < len(commands); begun++ {
		if err := m.remember(file, strconv.Itoa(begun+1)); err != nil {
			return err
		}
		if err := m.command(ctx, loaded, fmt.Sprintf("runcmd[%d]", begun), commands[begun]); err != nil {
			return err
		}
	}
	return m.remember(file, allBegun)
}

// command runs one command of the user's. Its words aren't logged, for there may
// be secrets among them; what it prints is. A failure is logged only: the error
// returned is that of a boot that is being ended.
func (m *Machine) command(ctx context.Context, loaded *config.Loaded, name string, command configschema.Command) error {
	environment, err := m.commandEnvironment(loaded)
	if err != nil {
		return err
	}
	m.Log.Info(name + " started")
	err = m.System.Execute(ctx, command, environment, func(line string) { m.Log.Info(name + ": " + line) })
	if ctx.Err() != nil {
		return fmt.Errorf("%s was interrupted: %w", name, context.Cause(ctx))
	}
	if err != nil {
		m.Log.Error(name+" failed; the boot goes on", "error", err)
	}
	return nil
}

// commandEnvironment is what the user's commands have beyond the daemon's own
// environment.
func (m *Machine) commandEnvironment(loaded *config.Loaded) ([]string, error) {
	id, err := m.instanceID(loaded)
	if err != nil {
		return nil, err
	}
	variables, err := m.variables(loaded)
	if err != nil {
		return nil, err
	}
	list := []string{"INSTANCE_ID=" + id}
	for _, v := range variables {
		list = append(list, v.name+"="+v.value)
	}
	return list, nil
}
