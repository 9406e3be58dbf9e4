// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/skerry-os/skerry/tests/vm"
)

// What firmware says of what it doesn't trust, and when it has nothing else.
var (
	saysDenied  = regexp.MustCompile(`BdsDxe: failed to load Boot\d+ .*: Access Denied`)
	saysNothing = regexp.MustCompile(`BdsDxe: No bootable option or device was found`)
	// saysStarted is of anything on the disk.
	saysStarted = regexp.MustCompile(`EFI stub|Linux version|systemd\[1\]|Enrolling`)
)

var secureBootWrongKey = Scenario{
	Name:   "secure-boot-wrong-key",
	Suite:  SuiteTest,
	Shows:  "a firmware that trusts one key says of an image that another one has signed, and of one that nobody has, that access is denied; nothing of them runs",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		var own, strange string
		var m *vm.Machine
		t.ExpectOnConsole(vm.Allowance{Re: regexp.MustCompile(`BdsDxe: (failed to (load|start) Boot\d+|No bootable option)`), Reason: "the firmware refuses what it doesn't trust"})
		refused := func(image string) func() error {
			return func() error {
				m.PowerCut()
				if err := m.ReplaceDisk(ctx, image); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				for _, says := range []*regexp.Regexp{saysDenied, saysNothing} {
					if _, err := m.WaitConsole(ctx, vm.BootTimeout, says); err != nil {
						return err
					}
				}
				if line, ok := m.Console().Find(saysStarted); ok {
					return fmt.Errorf("something runs: %q", line.Text)
				}
				return nil
			}
		}
		return t.Steps(
			step{"build two images, signed with two keys", func() (err error) {
				for name, image := range map[string]*string{"owner": &own, "stranger": &strange} {
					o, failed := t.newOwner(name)
					if failed == nil {
						*image, failed = t.signedImage(ctx, o)
					}
					err = errors.Join(err, failed)
				}
				return err
			}},
			step{"the firmware of a machine takes the certificate of one", func() (err error) {
				if m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: agentName, Memory: agentMemory, SecureBoot: true, Image: own}); err != nil {
					return err
				}
				// It reboots at once: the console to wait at would soon be another.
				if err := t.rebooted(ctx, m, 1); err != nil {
					return err
				}
				if _, ok := m.Consoles()[0].Find(saysEnrolled); !ok {
					return fmt.Errorf("its console doesn't say %q", saysEnrolled)
				}
				return nil
			}},
			step{"it refuses the other one's image", func() error { return refused(strange)() }},
			step{"it refuses one that is not signed", refused(t.Image)},
			step{"it starts the first one", func() error {
				m.PowerCut()
				if err := m.ReplaceDisk(ctx, own); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				_, err := m.WaitConsole(ctx, vm.BootTimeout, saysSecure)
				return err
			}},
		)
	},
}
