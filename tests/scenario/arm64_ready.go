// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var arm64Ready = Scenario{
	Name:   "arm64-ready",
	Suite:  SuiteAll,
	Shows:  "a machine whose processor is an arm64 boots the image of that architecture until its node is Ready with add-ons; a pod runs and its logs are shown; after a power cut it is the same node",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		image, err := t.arm64Image()
		if err != nil {
			return err
		}
		userData, err := t.serverConfig()
		if err != nil {
			return err
		}
		var m *vm.Machine
		var w *workload
		return t.Steps(
			step{"boot " + serverName + " until its node is Ready", func() error {
				m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData, Architecture: vm.ARM64, Image: image})
				if err != nil {
					return err
				}
				w = &workload{server: m, namespace: "arm64-ready"}
				w.cluster, err = m.WaitServer(ctx)
				return err
			}},
			step{"the machine tells that it is Ready", func() error { return saysReady(ctx, m) }},
			// Its firmware names the console; nobody else does.
			step{"its serial console tells too", func() error {
				if _, ok := findOnAnyBoot(m, regexp.MustCompile(`node `+serverName+` \(.*\) is Ready as server`)); !ok {
					return errors.New("it doesn't")
				}
				return nil
			}},
			step{"kernel and node are of arm64", func() error {
				if err := outputHas(ctx, m, "uname -m", "aarch64"); err != nil {
					return err
				}
				return kubectlHas(ctx, m, serverName, "get", "nodes", "-l", "kubernetes.io/arch=arm64", "--no-headers")
			}},
			step{"CoreDNS, local-path and metrics-server are Running", func() error { return addonsRun(ctx, w.cluster) }},
			step{"a pod runs, and its logs are shown", func() error {
				if w.image, err = w.cluster.PackagedImage(ctx, serverName, "busybox"); err != nil {
					return err
				}
				if err := w.cluster.Namespace(ctx, w.namespace); err != nil {
					return err
				}
				pod, err := w.web(ctx, "web", serverName)
				if err != nil {
					return err
				}
				return kubectlHas(ctx, m, pod+" is up", "-n", w.namespace, "logs", pod)
			}},
			step{"after a power cut it is the same node", func() error {
				m.PowerCut()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return w.cluster.WaitReady(ctx, serverName)
			}},
		)
	},
}

// arm64Image is the raw image of arm64: the lab's, or the one beside it.
func (t *T) arm64Image() (string, error) {
	const ours = "-" + vm.ARM64 + ".raw"
	path := t.Image
	if !strings.HasSuffix(path, ours) {
		path = strings.TrimSuffix(path, "-amd64.raw") + ours
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run `make scenario NAME=%s ARCH=%s`", err, t.name, vm.ARM64)
	}
	return path, nil
}
