// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var kernelArgs = Scenario{
	Name:   "kernel-args",
	Suite:  SuiteAll,
	Shows:  "arguments of the kernel in the cloud-config are on its command line after one reboot of its own; changed and taken out, they are after the next; a power cut loses none",
	OwnLab: true,
	Run:    kernelArgsWith(false),
}

// kernelArgsWith runs on a machine with either firmware.
func kernelArgsWith(bios bool) func(ctx context.Context, t *T) error {
	return func(ctx context.Context, t *T) error {
		// The first has an effect, the second only has to be there.
		const first, second = "hugepages=2", "example.second=1"
		config := func(args ...string) []byte {
			text := lonelyAgentConfig
			if len(args) > 0 {
				text += "  kernel: {args: [" + strings.Join(args, ", ") + "]}\n"
			}
			data, err := vm.Override([]byte(text), vm.Overrides{Hostname: agentName, AuthorizedKey: t.lab.AuthorizedKey()})
			if err != nil {
				panic(err) // of a constant of this file
			}
			return data
		}
		var m *vm.Machine
		apply := func(args ...string) error {
			out, err := m.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(config(args...)))
			if err == nil && !strings.Contains(out, "needs a reboot") {
				err = fmt.Errorf("config apply doesn't tell of a reboot: %s", out)
			}
			if err != nil {
				return err
			}
			status, err := statusNotReady(ctx, m)
			if err == nil && !strings.Contains(status, "needed for skerry.kernel.args") {
				err = fmt.Errorf("skerry status says %q", status)
			}
			return err
		}
		has := func(has, lacks []string) error {
			line, err := m.Run(ctx, "cat /proc/cmdline")
			if err != nil {
				return err
			}
			words := " " + strings.TrimSpace(line) + " "
			for _, word := range has {
				if strings.Count(words, " "+word+" ") != 1 {
					err = errors.Join(err, fmt.Errorf("%s is not once in %q", word, line))
				}
			}
			for _, word := range lacks {
				if strings.Contains(words, " "+word+" ") {
					err = errors.Join(err, fmt.Errorf("%s is in %q", word, line))
				}
			}
			status, statusErr := statusNotReady(ctx, m)
			if strings.Contains(status, "kernel.args") {
				err = errors.Join(err, fmt.Errorf("skerry status says %q", status))
			}
			return errors.Join(err, statusErr)
		}
		up := func() error {
			if err := m.WaitSSH(ctx); err != nil {
				return err
			}
			_, err := m.WaitConsole(ctx, vm.ReadyTimeout, kubernetesPhase)
			return err
		}
		return t.Steps(
			step{"boot a machine with an argument: it reboots once, and then has it", func() (err error) {
				if m, err = t.lab.Add(ctx, vm.MachineConfig{Name: agentName, UserData: config(first), Memory: agentMemory, BIOS: bios}); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if _, err := m.WaitConsole(ctx, vm.ReadyTimeout, regexp.MustCompile("other arguments than skerry.kernel.args has; rebooting once")); err != nil {
					return err
				}
				if err := vm.Wait(ctx, "it to be started again", vm.OffTimeout, func(context.Context) error {
					if n := m.Boots(); n != 2 {
						return fmt.Errorf("it was started %d times", n)
					}
					return nil
				}); err != nil {
					return err
				}
				if err := up(); err != nil {
					return err
				}
				return errors.Join(has([]string{first, "ro"}, []string{second}), outputHas(ctx, m, "grep HugePages_Total /proc/meminfo", " 2\n"))
			}},
			step{"it doesn't reboot again", func() error {
				if n := m.Boots(); n != 2 {
					return fmt.Errorf("it was started %d times", n)
				}
				return nil
			}},
			step{"apply another one, and cut the power: it is there", func() error {
				if err := apply(first, second); err != nil {
					return err
				}
				m.PowerCut()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := up(); err != nil {
					return err
				}
				return has([]string{first, second}, nil)
			}},
			step{"what would make another machine of it is refused", func() error {
				_, err := m.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(config(first, "init=/bin/sh")))
				var failure *vm.RunError
				if !errors.As(err, &failure) || failure.Status != 1 || !strings.Contains(failure.Stderr, `kernel.args[1]: "init" can't be set`) {
					return fmt.Errorf("got %w", err)
				}
				return nil
			}},
			step{"take them out, and reboot: they are gone, and nothing is left", func() error {
				if err := apply(); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := up(); err != nil {
					return err
				}
				if err := has([]string{"ro"}, []string{first, second}); err != nil {
					return err
				}
				if n := m.Boots(); n != 4 {
					return fmt.Errorf("it was started %d times, want 4", n)
				}
				return mustFail(ctx, m, "sudo sh -c 'ls /efi/loader/addons/*.efi || ls /state/kernel-args.json'")
			}},
		)
	}
}
