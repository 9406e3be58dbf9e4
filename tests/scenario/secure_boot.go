// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// What the console says of Secure Boot.
var (
	saysEnrolled      = regexp.MustCompile(`Custom Secure Boot keys successfully enrolled`)
	saysSecure        = regexp.MustCompile(`EFI stub: UEFI Secure Boot is enabled`)
	saysArgumentsLost = regexp.MustCompile(`skerry\.kernel\.args: Secure Boot is on, .*the machine goes on without them`)
)

var secureBoot = Scenario{
	Name:   "secure-boot",
	Suite:  SuiteAll,
	Shows:  "a signed image enrols its certificate in a firmware that waits for one, boots with Secure Boot on and is Ready; it says so; arguments of the kernel are refused; it is upgraded to what the same key has signed, and to nothing else",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		userData, err := u.config(upgradeServerConfig, patientTrial)
		if err != nil {
			return err
		}
		withArgs, err := u.config(upgradeServerConfig+"  kernel: {args: [quiet]}\n", patientTrial)
		if err != nil {
			return err
		}
		var image string
		var m *vm.Machine
		var c *vm.Cluster
		return t.Steps(
			step{"build an image, and two of the next version, of which a stranger has signed one", func() error {
				own, err := t.newOwner("owner")
				if err != nil {
					return err
				}
				stranger, err := t.newOwner("stranger")
				if err != nil {
					return err
				}
				if image, err = t.signedImage(ctx, own); err != nil {
					return err
				}
				return errors.Join(u.build(ctx, "good", own.args()...), u.build(ctx, "stranger", stranger.args()...))
			}},
			step{"boot " + serverName + ": its firmware takes the certificate, and its node is Ready", func() (err error) {
				if m, c, err = u.boot(ctx, vm.MachineConfig{UserData: userData, SecureBoot: true, Image: image}); err != nil {
					return err
				}
				if _, ok := m.Consoles()[0].Find(saysEnrolled); !ok || m.Boots() != 2 {
					return fmt.Errorf("it was started %d times, want 2, and the first console says %q: %t", m.Boots(), saysEnrolled, ok)
				}
				return isSecure(ctx, m)
			}},
			step{"arguments of the kernel are refused, and nothing is changed", func() error {
				_, err := m.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(withArgs))
				var failure *vm.RunError
				if !errors.As(err, &failure) || !strings.Contains(failure.Stderr, "Secure Boot is on") {
					return fmt.Errorf("got %w", err)
				}
				return mustFail(ctx, m, "sudo sh -c 'ls /efi/loader/addons/*.efi || ls /state/kernel-args.json'")
			}},
			step{"a version that a stranger has signed for the firmware is refused, and nothing is changed", func() error {
				before, err := diskState(ctx, m)
				if err != nil {
					return err
				}
				if err := refusesPayload(ctx, m, "stranger", `it is signed by "CN=stranger"`, exitRefused); err != nil {
					return err
				}
				after, err := diskState(ctx, m)
				if err == nil && after != before {
					err = fmt.Errorf("the disk was\n%s\nand is\n%s", before, after)
				}
				return err
			}},
			step{"the next version runs, and is blessed; arguments that the medium has meanwhile stop nothing", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				if err := m.SetUserData(withArgs); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, payloadVersion); err != nil {
					return err
				}
				if _, err := m.WaitConsole(ctx, vm.BootTimeout, saysArgumentsLost); err != nil {
					return err
				}
				if err := u.waitBlessed(ctx, m, "blessed"); err != nil {
					return err
				}
				if err := isSecure(ctx, m, "skerry.kernel.args: Secure Boot is on"); err != nil {
					return err
				}
				if n := m.Boots(); n != 3 {
					return fmt.Errorf("it was started %d times, want 3", n)
				}
				return c.AreReady(ctx, serverName)
			}},
		)
	},
}

// isSecure checks that a machine runs with Secure Boot on, says so, and has only these problems.
func isSecure(ctx context.Context, m *vm.Machine, problems ...string) error {
	out, err := m.Run(ctx, "sudo skerry status -o json")
	if err != nil {
		return err
	}
	var status struct {
		SecureBoot string   `json:"secureBoot"`
		Problems   []string `json:"problems"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return fmt.Errorf("skerry status says %q: %w", out, err)
	}
	same := slices.EqualFunc(status.Problems, problems, strings.HasPrefix)
	if status.SecureBoot != "enabled" || !same {
		return fmt.Errorf("the state of Secure Boot is %q, want enabled; the problems are %q, want %q", status.SecureBoot, status.Problems, problems)
	}
	if _, ok := m.Console().Find(saysSecure); !ok {
		return fmt.Errorf("the console doesn't say %q", saysSecure)
	}
	// What others say of it; a module that isn't signed, or whose signature was stripped, is not loaded by such a kernel.
	return errors.Join(
		outputHas(ctx, m, "sudo bootctl status --no-pager 2>&1", "Secure Boot: enabled (user)"),
		outputHas(ctx, m, "sudo cat /sys/kernel/security/lockdown", "[integrity]"),
		mustFail(ctx, m, "sudo journalctl -k -b --no-pager | grep -i 'unsigned module\\|module verification failed'"),
	)
}
