// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var k3sCommands = Scenario{
	Name:  "k3s-commands",
	Suite: SuiteAll,
	Shows: "crictl and ctr show the pods of Kubernetes under all their names, check-config finds nothing missing, and metrics of certificates and load balancer are served",
	Run: func(ctx context.Context, t *T) error {
		server, _, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"crictl lists the pods, ctr their images", func() error {
				for _, command := range []string{"crictl pods", "k3s crictl pods", "skerry crictl pods"} {
					if err := outputHas(ctx, server, "sudo "+command, "coredns"); err != nil {
						return err
					}
				}
				for _, command := range []string{"ctr images ls", "k3s ctr images ls", "skerry ctr images ls"} {
					if err := outputHas(ctx, server, "sudo "+command, "skerry.local/pause"); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"check-config finds what Kubernetes needs", func() error { return checkConfig(ctx, t, server) }},
			step{"the shell's completion knows the commands", func() error {
				for command, want := range map[string]string{
					"skerry completion bash": "__start_skerry", "k3s completion zsh": "#compdef k3s", "skerry __complete crictl ''": "inspectp",
					"skerry __complete ctr im": "images\t", "k3s __complete kubectl get no": "nodes",
				} {
					if err := outputHas(ctx, server, "sudo "+command, want); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"a server and an agent in the foreground are refused, with what to do instead", func() error {
				for _, command := range []string{"skerry server --token x", "k3s agent --server https://192.0.2.1:6443 --token x"} {
					_, err := server.Run(ctx, "sudo "+command)
					var failure *vm.RunError
					if !errors.As(err, &failure) || !strings.Contains(failure.Stderr, "skerry config apply") {
						return fmt.Errorf("%s: got %w", command, err)
					}
				}
				return nil
			}},
			step{"metrics of an agent tell of its load balancer and its certificates", func() error {
				metrics, err := server.Kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+agentName+"/proxy/metrics")
				if err != nil {
					return err
				}
				for _, want := range []string{
					fmt.Sprintf("k3s_loadbalancer_server_health{name=\"k3s-agent-load-balancer\",server=\"%s:6443\"} 7", server.Address()),
					"k3s_loadbalancer_server_connections{", `k3s_loadbalancer_dial_duration_seconds_count{name="k3s-agent-load-balancer",status="success"}`,
					"k3s_certificate_expiration_seconds{",
				} {
					if !strings.Contains(metrics, want) {
						return fmt.Errorf("%s: there is no %s", agent.Name(), want)
					}
				}
				return nil
			}},
		)
	},
}

// checkConfig asks the machine. One without a kernel of its own has no controllers of control groups, and nothing else may
// be missing.
func checkConfig(ctx context.Context, t *T, m *vm.Machine) error {
	out, err := m.Run(ctx, "sudo skerry check-config -o json || test $? = 1")
	if err != nil {
		return err
	}
	var checks []struct{ Group, Name, State, Found string }
	if err := json.Unmarshal([]byte(out), &checks); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	kernel := 0
	for _, c := range checks {
		if c.Group == "kernel" {
			kernel++
		}
		if c.State == "failed" && (c.Group != "cgroups" || !t.native) {
			err = errors.Join(err, fmt.Errorf("%s %s: %s", c.Group, c.Name, c.Found))
		}
	}
	if kernel < 40 {
		err = errors.Join(err, fmt.Errorf("only %d features of the kernel were looked at", kernel))
	}
	return err
}
