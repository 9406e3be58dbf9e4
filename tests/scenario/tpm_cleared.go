// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// asksForKey is on the console where the TPM doesn't open STATE.
var asksForKey = regexp.MustCompile(`Passphrase or recovery key of STATE`)

var tpmCleared = Scenario{
	Name:   "tpm-cleared",
	Suite:  SuiteAll,
	Shows:  "a machine encrypts STATE and DATA with its TPM at its first boot and opens them by itself; where the TPM has forgotten it asks for the recovery key, waits for it, and is the same machine; it is bound to the TPM again",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, err := lonelyAgent(ctx, t, vm.MachineConfig{TPM: true}, "storage: {encryption: tpm2}")
		if err != nil {
			return err
		}
		var before self
		var key string
		openedBy := func(by string) error {
			return outputHas(ctx, m, "sudo skerry storage status -o json", `"openedBy": "`+by+`"`)
		}
		return t.Steps(
			step{"it restarts once, and STATE and DATA are encrypted", func() (err error) {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if _, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile("asks for an encrypted STATE and DATA; rebooting once")); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if err := areEncrypted(ctx, m); err != nil {
					return err
				}
				before, err = selfOf(ctx, m)
				return errors.Join(err, openedBy("tpm2"))
			}},
			step{"skerry status asks for a recovery key, and is satisfied with one", func() error {
				status, err := statusNotReady(ctx, m)
				if err == nil && !strings.Contains(status, "make a recovery key") {
					err = fmt.Errorf("skerry status says %q", status)
				}
				if err != nil {
					return err
				}
				if key, err = m.Run(ctx, "sudo skerry storage recovery-key"); err != nil {
					return err
				}
				if key = strings.TrimSpace(key); len(key) < 32 || strings.ContainsAny(key, " \n") {
					return fmt.Errorf("a recovery key of %d characters", len(key))
				}
				if status, err = statusNotReady(ctx, m); err == nil && strings.Contains(status, "make a recovery key") {
					err = fmt.Errorf("skerry status says %q", status)
				}
				return err
			}},
			step{"after a power cut the TPM opens them again", func() error {
				m.PowerCut()
				if err := bootToSSH(ctx, m); err != nil {
					return err
				}
				return errors.Join(before.same(ctx, m), openedBy("tpm2"))
			}},
			step{"the TPM is cleared: the console asks, and a wrong key opens nothing", func() error {
				if err := m.Shutdown(ctx); err != nil {
					return err
				}
				if err := m.ClearTPM(); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if _, err := m.WaitConsole(ctx, vm.BootTimeout, asksForKey); err != nil {
					return err
				}
				if err := m.Type("not the recovery key\n"); err != nil {
					return err
				}
				_, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile("that does not open STATE"))
				return err
			}},
			step{"the recovery key opens them, once for both, in the same boot", func() error {
				boots := len(m.Consoles())
				if err := m.Type(key + "\n"); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if len(m.Consoles()) != boots {
					return errors.New("the machine has restarted")
				}
				return errors.Join(before.same(ctx, m), openedBy("passphrase"))
			}},
			step{"what was typed is nowhere", func() error {
				for _, line := range m.Console().Lines() {
					if strings.Contains(line.Text, key) {
						return errors.New("the recovery key is on the console")
					}
				}
				// grep fails where it counts none, which is what is wanted.
				out, err := m.Run(ctx, "sudo ls /run/skerry; sudo journalctl -b --no-pager | grep -c -F "+key+" || true")
				if err == nil && (strings.Contains(out, "passphrase") || !strings.HasSuffix(strings.TrimSpace(out), "\n0")) {
					err = fmt.Errorf("it is in the journal or in /run/skerry: %q", out)
				}
				return err
			}},
			step{"it is bound to the TPM as it is now, which opens it from then on", func() error {
				if out, err := m.Run(ctx, "echo not the recovery key | sudo skerry storage enroll"); err == nil {
					return fmt.Errorf("a wrong key is taken: %q", out)
				}
				if _, err := m.Run(ctx, "echo '"+key+"' | sudo skerry storage enroll"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return errors.Join(before.same(ctx, m), openedBy("tpm2"))
			}},
		)
	},
}

// areEncrypted checks that STATE and DATA are, and that the machine uses them.
func areEncrypted(ctx context.Context, m *vm.Machine) error {
	for _, partition := range []string{"skerry-state", "skerry-data"} {
		if err := outputHas(ctx, m, "sudo head -c 4 /dev/disk/by-partlabel/"+partition, "LUKS"); err != nil {
			return err
		}
	}
	for where, source := range map[string]string{"/state": "/dev/mapper/skerry-state", "/var": "/dev/mapper/skerry-data"} {
		if err := outputHas(ctx, m, "findmnt -n -o SOURCE "+where, source); err != nil {
			return err
		}
	}
	return nil
}
