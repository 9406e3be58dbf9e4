// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var installEncrypted = Scenario{
	Name:   "install-encrypted",
	Suite:  SuiteAll,
	Shows:  "a machine without a TPM is installed with STATE and DATA encrypted by a passphrase; each boot asks for it once, on the console; the passphrase is nowhere on the disk",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const passphrase = "tide over the skerries"
		m, err := t.addToInstall(ctx, lonelyAgentConfig+"  install: {}\n  storage: {encryption: passphrase, passphrase: "+passphrase+"}\n",
			vm.MachineConfig{Name: agentName, Memory: agentMemory})
		if err != nil {
			return err
		}
		var before self
		// typed waits until the console asks, answers, and logs in.
		typed := func() error {
			if _, err := m.WaitConsole(ctx, vm.BootTimeout, asksForKey); err != nil {
				return err
			}
			if err := m.Type(passphrase + "\n"); err != nil {
				return err
			}
			if err := m.WaitSSH(ctx); err != nil {
				return err
			}
			return outputHas(ctx, m, "sudo skerry storage status -o json", `"openedBy": "passphrase"`)
		}
		return t.Steps(
			step{"it installs itself", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				return t.installs(ctx, m)
			}},
			step{"its first boot asks for the passphrase; STATE and DATA are encrypted", func() (err error) {
				if err := typed(); err != nil {
					return err
				}
				if err := areEncrypted(ctx, m); err != nil {
					return err
				}
				before, err = selfOf(ctx, m)
				return err
			}},
			step{"after a power cut it asks again, and is the same machine", func() error {
				m.PowerCut()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := typed(); err != nil {
					return err
				}
				return before.same(ctx, m)
			}},
			step{"the passphrase is nowhere", func() error {
				for _, console := range m.Consoles() {
					for _, line := range console.Lines() {
						if strings.Contains(line.Text, passphrase) {
							return fmt.Errorf("it is on the console: %s", line.Text)
						}
					}
				}
				m.PowerCut()
				// The header of LUKS2 is text, too.
				for text, want := range map[string]bool{`"keyslots":{`: true, passphrase: false} {
					has, err := m.DiskHas(ctx, text)
					if err == nil && has != want {
						err = fmt.Errorf("%q is on the disk: %t, want %t", text, has, want)
					}
					if err != nil {
						return err
					}
				}
				return nil
			}},
		)
	},
}
