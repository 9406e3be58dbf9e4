// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// upgradePlanSlots is the other half of upgrade-plan: one machine, and all of it real.
var upgradePlanSlots = Scenario{
	Name:   "upgrade-plan-slots",
	Suite:  SuiteAll,
	Shows:  "an UpgradePlan moves a machine to the version in its other slot, and ends; changed to a version that can't boot, it stops when the machine has fallen back, says why, and the node is as before",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.ExpectOnConsole(kernelPanics)
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		userData, err := u.config(upgradeServerConfig, patientTrial)
		if err != nil {
			return err
		}
		const good, bad = "0.1.98", payloadVersion
		p := &planned{t: t, ctx: ctx, machines: map[string]*vm.Machine{}, boots: map[string]string{}}
		var m *vm.Machine
		return t.Steps(
			step{"build a version that is good and one that can't boot", func() error {
				return errors.Join(u.buildVersion(ctx, "good", good), u.buildVersion(ctx, "bad", bad, "-cmdline", noInit))
			}},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				if m, p.cluster, err = u.boot(ctx, vm.MachineConfig{UserData: userData}); err != nil {
					return err
				}
				p.machines[serverName] = m
				p.boots[serverName], err = m.BootID(ctx)
				return err
			}},
			step{"a plan has it upgraded, and is complete when it has proven itself", func() error {
				if err := m.Apply(ctx, p.manifest("https://payloads.lab.example/"+planNewer, payloadURL+"good", planNewer, good)); err != nil {
					return err
				}
				s, err := p.wait("the plan to be complete", 3*vm.ReadyTimeout, func(s planStatus) bool { return s.Status.Phase == "Complete" })
				if err != nil {
					return err
				}
				if n := s.node(serverName); n.State != "Upgraded" || n.From != u.from || n.Version != good {
					return fmt.Errorf("the node is %s, from %s to %s", n.State, n.From, n.Version)
				}
				return errors.Join(p.rebooted(serverName, true), u.are(ctx, m, u.from+" proven, "+good+" proven runs"))
			}},
			step{"changed to the other one, it stops at the fall-back, and says why", func() error {
				patch := fmt.Sprintf(`{"spec":{"version":%q,"source":%q}}`, bad, payloadURL+"bad")
				if _, err := m.Kubectl(ctx, "patch", "upgradeplan", planName, "--type=merge", "-p", patch); err != nil {
					return err
				}
				s, err := p.wait("the plan to stop", 3*vm.ReadyTimeout, func(s planStatus) bool { return s.Status.Phase == "Stopped" })
				if err != nil {
					return err
				}
				stopped := s.condition("Stopped")
				if stopped.Status != metav1.ConditionTrue || stopped.Reason != "NodeFellBack" || !strings.Contains(stopped.Message, "none of its 3 boots") {
					return fmt.Errorf("want it to say that the node fell back, and why: %+v", stopped)
				}
				return u.are(ctx, m, bad+" failed, "+good+" proven runs")
			}},
			step{"the node is Ready, and takes pods", func() error {
				if err := p.cluster.WaitReady(ctx, serverName); err != nil {
					return err
				}
				node, err := p.cluster.CoreV1().Nodes().Get(ctx, serverName, metav1.GetOptions{})
				if err == nil && (node.Spec.Unschedulable || node.Annotations["upgrade.skerry.io/request"] != "") {
					err = fmt.Errorf("it is cordoned, or still asked to upgrade: %v, %v", node.Spec.Unschedulable, node.Annotations)
				}
				return err
			}},
		)
	},
}
