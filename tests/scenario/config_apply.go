// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// What is applied to a machine that runs configBefore, which has another user, file, setting and label.
const (
	// configApplied differs from configAfter in what a running machine can't take: nothing.
	configApplied = configAfter
	// configMistaken has one mistake, in its last line.
	configMistaken = configAfter + "  sysctls_: {}\n"
	// configUnreachable is valid, and leaves nobody a way to the machine.
	configUnreachable = configAfter + `  network:
    ethernets:
      all: {match: {name: "e*"}, addresses: [198.51.100.9/24]}
`
	// configTried is what a power cut takes back.
	configTried = `
skerry:
  sysctls: {vm.max_map_count: 400000}
  cluster:
    token: config-changed
    node-label: [example.org/disk=ssd]
`
)

var configApply = Scenario{
	Name:   "config-apply",
	Suite:  SuiteAll,
	Shows:  "a running machine takes a changed cloud-config without a reboot, or nothing of it; a network that nobody reaches it by is taken back in time, and a power cut takes back what was not confirmed",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		config := func(text string) []byte {
			data, err := vm.Override([]byte("#cloud-config\n"+text), vm.Overrides{Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey()})
			if err != nil {
				panic(err) // of a constant of this file
			}
			return data
		}
		// The control plane is not restarted for what concerns the node alone.
		var m *vm.Machine
		var cluster *vm.Cluster
		var bootID, control string
		isBefore := func() error { return isMachine(ctx, m, cluster, "leaver", "joiner", "before", "262144", "JST", "hdd") }
		isAfter := func() error { return isMachine(ctx, m, cluster, "joiner", "leaver", "after", "300000", "UTC", "ssd") }
		return t.Steps(
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				if m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: config(configBefore)}); err != nil {
					return err
				}
				if cluster, err = m.WaitServer(ctx); err != nil {
					return err
				}
				if bootID, err = m.BootID(ctx); err != nil {
					return err
				}
				control, err = m.Run(ctx, "systemctl show -P MainPID skerry-control.service")
				return errors.Join(err, isBefore())
			}},
			step{"a dry run says what would change, and changes nothing", func() error {
				out, err := m.RunInput(ctx, "sudo skerry config apply --dry-run -", bytes.NewReader(config(configApplied)))
				if err != nil {
					return err
				}
				for _, want := range []string{`vm.max_map_count`, "at once", "node-label", "restarts skerry-node.service"} {
					if !strings.Contains(out, want) {
						return fmt.Errorf("it doesn't say %q:\n%s", want, out)
					}
				}
				return isBefore()
			}},
			step{"a file with a mistake is refused with line and key, and changes nothing", func() error {
				_, err := m.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(config(configMistaken)))
				var failure *vm.RunError
				if !errors.As(err, &failure) || failure.Status != 1 || !strings.Contains(failure.Stderr, "sysctls_: unknown key") {
					return fmt.Errorf("got %w", err)
				}
				return isBefore()
			}},
			step{"applied, it is true without a reboot", func() error {
				if _, err := m.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(config(configApplied))); err != nil {
					return err
				}
				return vm.Wait(ctx, "the node to have its new label", vm.ReadyTimeout, func(context.Context) error { return isAfter() })
			}},
			step{"what has left the configuration is gone, and only what had to was restarted", func() error {
				if err := mustFail(ctx, m, "test -e /etc/gone.conf"); err != nil {
					return err
				}
				if err := outputHas(ctx, m, "systemctl show -P MainPID skerry-control.service", strings.TrimSpace(control)); err != nil {
					return err
				}
				if err := vm.Wait(ctx, "the node to be Ready", vm.ReadyTimeout, func(context.Context) error { return saysReady(ctx, m) }); err != nil {
					return err
				}
				now, err := m.BootID(ctx)
				if err == nil && now != bootID {
					err = errors.New("it has rebooted")
				}
				return err
			}},
			step{"a network that nobody reaches it by is taken back", func() error {
				// Nobody can look meanwhile but the machine itself.
				if _, err := m.Run(ctx, "sudo systemd-run --quiet --unit=watch-addresses sh -c "+
					"'while sleep 0.5; do ip -4 -o address; done > /run/addresses'"); err != nil {
					return err
				}
				// The answer may or may not come through.
				asked, cancel := context.WithTimeout(ctx, vm.Scaled(time.Minute))
				defer cancel()
				out, err := m.RunInput(asked, "sudo skerry config apply --try 20s -", bytes.NewReader(config(configUnreachable)))
				t.Note("the session that asked: %v %s", err, strings.TrimSpace(out))
				if _, err := m.WaitConsole(ctx, vm.Scaled(2*time.Minute), regexp.MustCompile(`taken back`)); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if err := outputHas(ctx, m, "grep -m1 198.51.100.9 /run/addresses; sudo systemctl stop watch-addresses.service", "198.51.100.9"); err != nil {
					return err
				}
				if err := mustFail(ctx, m, "networkctl status --no-pager | grep 198.51.100.9"); err != nil {
					return err
				}
				return vm.Wait(ctx, "the node to be Ready again", vm.ReadyTimeout, func(context.Context) error {
					if err := saysReady(ctx, m); err != nil {
						return err
					}
					return isAfter()
				})
			}},
			step{"a power cut takes back what is on trial, and nothing that was applied", func() error {
				if _, err := m.RunInput(ctx, "sudo skerry config apply --try 30m -", bytes.NewReader(config(configTried))); err != nil {
					return err
				}
				if err := outputHas(ctx, m, "cat /proc/sys/vm/max_map_count", "400000"); err != nil {
					return err
				}
				m.PowerCut()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, m); err != nil {
					return err
				}
				return isAfter()
			}},
		)
	},
}
