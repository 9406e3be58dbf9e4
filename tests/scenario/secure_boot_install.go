// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"

	"github.com/skerry-os/skerry/tests/vm"
)

var secureBootInstall = Scenario{
	Name:   "secure-boot-install",
	Suite:  SuiteAll,
	Shows:  "a signed ISO image enrols its certificate in a firmware that waits for one, boots with Secure Boot on and installs the machine, which boots from its disk with Secure Boot on",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		var m *vm.Machine
		return t.Steps(
			step{"build a signed ISO image", func() error {
				own, err := t.newOwner("owner")
				if err != nil {
					return err
				}
				image, err := t.signedImage(ctx, own, "-iso")
				if err != nil {
					return err
				}
				m, err = t.addToInstall(ctx, lonelyAgentConfig+"  install: {}\n", vm.MachineConfig{
					Name: agentName, SecureBoot: true, Medium: isoOf(image)})
				return err
			}},
			step{"the firmware takes the certificate from it, and the live system installs itself with Secure Boot on", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := t.installs(ctx, m); err != nil {
					return err
				}
				if len(m.Consoles()) != 3 {
					return fmt.Errorf("it was started %d times, want 3: to enrol, to install, and from its disk", len(m.Consoles()))
				}
				if _, ok := m.Consoles()[0].Find(saysEnrolled); !ok {
					return fmt.Errorf("the first console doesn't say %q", saysEnrolled)
				}
				if _, ok := m.Consoles()[1].Find(saysSecure); !ok {
					return errors.New("the live system ran without Secure Boot")
				}
				return nil
			}},
			step{"it boots from its disk with Secure Boot on", func() error {
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if _, ok := m.Console().Find(saysSecure); !ok {
					return errors.New("the installed system runs without Secure Boot")
				}
				return isInstalled(ctx, m)
			}},
		)
	},
}
