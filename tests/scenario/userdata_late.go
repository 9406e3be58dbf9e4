// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/skerry-os/skerry/tests/metadata"
	"github.com/skerry-os/skerry/tests/vm"
)

var userdataLate = Scenario{
	Name:   "userdata-late",
	Suite:  SuiteAll,
	Shows:  "a metadata server that does not answer, is not up (503), does not know the machine yet (404): the machine says so, waits, and takes the user-data when it is there",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		c := named("digitalocean")
		// Nobody has the server's address at first: what is sent to it gets lost.
		m, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "machine", SMBIOS: c.smbios, CPUs: smallCPUs, Memory: smallMemory})
		if err != nil {
			return err
		}
		says := func(reason string) error {
			line, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(reason))
			if err == nil {
				t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
			}
			return err
		}
		var server metadata.Switch
		return t.Steps(
			step{"it says that nobody answers", func() error {
				return says(`can't be fetched yet; trying again.*` + regexp.QuoteMeta(metadataAddress) + ` does not answer`)
			}},
			step{"it says that the server is not available", func() error {
				server.Set(metadata.Always(http.StatusServiceUnavailable))
				if _, err := c.serve(t, m.Name(), &server); err != nil {
					return err
				}
				return says(`can't be fetched yet; trying again.* says 503 Service Unavailable`)
			}},
			step{"it says that the server has nothing for it", func() error {
				server.Set(metadata.Always(http.StatusNotFound))
				return says(`there is nothing there; asking again`)
			}},
			step{"it goes on asking, at a calm pace, and has applied nothing", func() error {
				before, began := server.Asked(), time.Now()
				const times = 2
				err := vm.Wait(ctx, "the machine to ask again", vm.BootTimeout, func(context.Context) error {
					if n := server.Asked() - before; n < times {
						return fmt.Errorf("it has asked %d times", n)
					}
					return nil
				})
				if err != nil {
					return err
				}
				if took := time.Since(began); took < times*fastest {
					return fmt.Errorf("it has asked %d times in %s", times, took)
				}
				if _, err := m.Run(ctx, "true"); err == nil {
					return fmt.Errorf("%s lets the lab's key in", m.Name())
				}
				return nil
			}},
			step{"it takes the user-data when that is there", func() error {
				server.Set(c.metadata(t, restingConfig))
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return configured{source: c.name, hostname: cloudHostname}.is(ctx, m)
			}},
			step{"and this is still its first boot", func() error {
				if n := m.Boots(); n != 1 {
					return fmt.Errorf("it has booted %d times", n)
				}
				return nil
			}},
		)
	},
}
