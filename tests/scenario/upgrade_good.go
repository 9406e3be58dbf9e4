// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// patientTrial is long enough for an emulated machine on a busy host.
const patientTrial = "{deadline: 60m, stable: 20s}"

var upgradeGood = Scenario{
	Name:   "upgrade-good",
	Suite:  SuiteTest,
	Shows:  "`skerry upgrade apply` brings the next version from a web server; it boots on trial, its node is Ready, it is blessed and stays after a power cut; the cluster is the same",
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
		var m *vm.Machine
		var c *vm.Cluster
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				if m, c, err = u.boot(ctx, vm.MachineConfig{UserData: userData}); err != nil {
					return err
				}
				_, err = c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: "before"}}, metav1.CreateOptions{})
				return err
			}},
			step{"skerry upgrade check tells of it", func() error {
				out, err := m.Run(ctx, "sudo skerry upgrade check -o json")
				if err == nil && (!strings.Contains(out, `"version": "`+payloadVersion+`"`) || !strings.Contains(out, `"newer": true`)) {
					err = fmt.Errorf("it says %q", out)
				}
				return err
			}},
			step{"skerry upgrade apply writes it to the other slot", func() error {
				began := time.Now()
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				t.Note("it took %s", seconds(time.Since(began)))
				return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" trial")
			}},
			step{"the next boot is of it, its node is Ready, and it is blessed", func() error {
				if err := u.proves(ctx, m, payloadVersion, "blessed"); err != nil {
					return err
				}
				if err := u.are(ctx, m, u.from+" proven, "+payloadVersion+" proven runs"); err != nil {
					return err
				}
				// At once: a version is blessed for a node that is Ready.
				return c.AreReady(ctx, serverName)
			}},
			step{"after a power cut it boots again, with the same cluster", func() error {
				m.PowerCut()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if _, err := m.WaitAPI(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, payloadVersion); err != nil {
					return err
				}
				_, err := c.CoreV1().ConfigMaps("default").Get(ctx, "before", metav1.GetOptions{})
				return err
			}},
		)
	},
}
