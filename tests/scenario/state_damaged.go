// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var stateDamaged = Scenario{
	Name:   "state-damaged",
	Suite:  SuiteAll,
	Shows:  "STATE without its superblock is repaired at boot, and the machine is the same; where nothing of STATE is left its console says what that means, and offers a rescue shell",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		userData, err := vm.Override([]byte(lonelyAgentConfig), vm.Overrides{Hostname: agentName, AuthorizedKey: t.lab.AuthorizedKey()})
		if err != nil {
			return err
		}
		m, err := t.lab.Add(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: agentMemory})
		if err != nil {
			return err
		}
		var state vm.Partition
		var before string
		self := func() (string, error) { return m.Run(ctx, "cat /etc/machine-id; sudo cat /etc/ssh/keys/*.pub | sort") }
		tells := func(ofRepair bool) error {
			status, err := statusNotReady(ctx, m)
			if err == nil && strings.Contains(status, "repaired: STATE was damaged and is repaired") != ofRepair {
				err = fmt.Errorf("skerry status says %q", status)
			}
			return err
		}
		boot := func() error {
			if err := m.PowerOn(ctx); err != nil {
				return err
			}
			return m.WaitSSH(ctx)
		}
		return t.Steps(
			step{"boot a machine", func() (err error) {
				if err := boot(); err != nil {
					return err
				}
				if before, err = self(); err != nil {
					return err
				}
				state, err = partitionOf(ctx, m, "skerry-state")
				if err != nil {
					return err
				}
				return m.Shutdown(ctx)
			}},
			step{"without its superblock STATE is repaired, and it is the same machine", func() error {
				const superblock = 4096
				if err := m.ZeroDisk(ctx, state.Start, superblock); err != nil {
					return err
				}
				if err := boot(); err != nil {
					return err
				}
				if _, ok := m.Console().Find(regexp.MustCompile(`STATE is repaired`)); !ok {
					return errors.New("its console doesn't tell of the repair")
				}
				after, err := self()
				if err != nil {
					return err
				}
				if after != before {
					return fmt.Errorf("the machine was\n%s\nand is\n%s", before, after)
				}
				return tells(true)
			}},
			step{"at the next boot there is nothing to repair", func() error {
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return tells(false)
			}},
			step{"where nothing is left of STATE the console says so, and offers a shell", func() error {
				// From here on it can't start, and says so.
				t.ExpectOnConsole(stateIsGone)
				m.PowerCut()
				if err := m.ZeroDisk(ctx, state.Start, state.Size); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				for _, says := range []string{`STATE \(\S+\) can't be repaired`, `what makes this machine itself.*mkfs\.ext4 -F`, `Press Enter for a rescue shell`} {
					if _, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(says)); err != nil {
						return err
					}
				}
				return nil
			}},
		)
	},
}

// stateIsGone is what fails where nothing of STATE is left: the console shortens names in their middle.
var stateIsGone = vm.Allowance{Re: regexp.MustCompile(`systemd-fsck@dev-.*state|sysroot-state\.moun|Dependency failed for skerry-initr`), Reason: "nothing of STATE is left"}

// partitionOf asks a running machine for a partition of its disk.
func partitionOf(ctx context.Context, m *vm.Machine, label string) (vm.Partition, error) {
	out, err := m.Run(ctx, "cd /sys/class/block/$(basename $(readlink -f /dev/disk/by-partlabel/"+label+")) && cat start size")
	if err != nil {
		return vm.Partition{}, err
	}
	const sector = 512 // of what the kernel counts in, whatever the disk's is
	var numbers []int64
	for _, field := range strings.Fields(out) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return vm.Partition{}, err
		}
		numbers = append(numbers, n*sector)
	}
	if len(numbers) != 2 {
		return vm.Partition{}, fmt.Errorf("start and size of %s are %q", label, out)
	}
	return vm.Partition{Label: label, Start: numbers[0], Size: numbers[1]}, nil
}
