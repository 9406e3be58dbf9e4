// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

const (
	timeServer        = "time.example"
	timeServerAddress = "198.51.100.3"
)

// emptyBattery is where the clock of a machine without a battery begins.
var emptyBattery = time.Date(1970, 1, 1, 0, 0, 1, 0, time.UTC)

var clock1970 = Scenario{
	Name:   "clock-1970",
	Suite:  SuiteAll,
	Shows:  "a machine whose clock is at 1970 says that it waits for the time, goes on when a time server answers, and is Ready with certificates of today",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		userData, err := vm.Override([]byte("#cloud-config\nntp:\n  servers: ["+timeServer+"]\nskerry:\n  time:\n    wait-for-sync: true\n"),
			vm.Overrides{Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey(), Cluster: map[string]string{"token": "clock-1970"}})
		if err != nil {
			return err
		}
		m, err := t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData, Clock: emptyBattery})
		if err != nil {
			return err
		}
		return t.Steps(
			step{"it says that it waits, and does", func() error {
				if err := waitsForTime(ctx, t, m); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				off, err := clockError(ctx, m)
				if err != nil {
					return err
				}
				if off < 24*time.Hour {
					return fmt.Errorf("its clock is not wrong by a day, but by %s", off)
				}
				if line, started := m.Console().Find(kubernetesPhase); started {
					return fmt.Errorf("it did not wait: %s", line.Text)
				}
				return mustRefuse(ctx, t.lab, net.JoinHostPort(m.Address().String(), "6443"))
			}},
			step{"with a time server it goes on, and is Ready", func() error {
				if err := t.lab.ServeTime(netip.MustParseAddr(timeServerAddress), timeServer); err != nil {
					return err
				}
				_, err := m.WaitServer(ctx)
				return err
			}},
			step{"its clock is right", func() error {
				off, err := clockError(ctx, m)
				if err == nil && off > time.Minute {
					err = fmt.Errorf("it is wrong by %s", off)
				}
				return err
			}},
		)
	},
}

// waitsForTime waits until a machine says that it waits for the time, and takes it for never if it goes on without.
func waitsForTime(ctx context.Context, t *T, m *vm.Machine) error {
	return vm.Wait(ctx, m.Name()+" to say that it waits for the time", vm.BootTimeout, func(context.Context) error {
		if line, ok := m.Console().Find(resting); ok {
			t.Note("%s, %.1fs after power-on: %s", m.Name(), line.At.Seconds(), line.Text)
			return nil
		}
		if line, ok := m.Console().Find(kubernetesPhase); ok {
			return vm.Never("it goes on: %s", line.Text)
		}
		return fmt.Errorf("the console ends with %q", m.Console().Last().Text)
	})
}

// clockError is by how much a machine's clock is wrong, in either direction.
func clockError(ctx context.Context, m *vm.Machine) (time.Duration, error) {
	out, err := m.Run(ctx, "date +%s")
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: date says %q", m.Name(), out)
	}
	return time.Since(time.Unix(seconds, 0)).Abs(), nil
}
