// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var certsRotated = Scenario{
	Name:   "certs-rotated",
	Suite:  SuiteAll,
	Shows:  "skerry certificate rotate replaces all certificates and keys of a server and of an agent while they run; nothing is restarted, and a watch goes on",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		w, pods, err := webOnBoth(ctx, t, "certs-rotated")
		if err != nil {
			return err
		}
		before, err := w.containers(ctx, pods)
		if err != nil {
			return err
		}
		seen, err := newWatch(ctx, server, w.namespace)
		if err != nil {
			return err
		}
		rotate := func(m *vm.Machine, want string) func() error {
			return func() error {
				running, err := processes(ctx, m)
				if err != nil {
					return err
				}
				old, err := keys(ctx, m)
				if err != nil {
					return err
				}
				if err := outputHas(ctx, m, "sudo skerry certificate rotate", want); err != nil {
					return err
				}
				now, err := keys(ctx, m)
				if err != nil {
					return err
				}
				for file, sum := range old {
					if now[file] == sum {
						return fmt.Errorf("%s of %s is the key of before", file, m.Name())
					}
				}
				return sameProcesses(ctx, m, running)
			}
		}
		return t.Steps(
			step{"rotate the server's", rotate(server, "skerry-control.service has replaced its certificates")},
			step{"rotate the agent's", rotate(agent, "skerry-node.service has replaced its certificates")},
			step{"the watch goes on", func() error { return seen.goesOn(ctx) }},
			step{"nodes stay Ready, and pods are reached", func() error {
				for _, node := range []string{serverName, agentName} {
					if err := staysReady(ctx, cluster, node); err != nil {
						return err
					}
				}
				for _, pod := range pods {
					if _, err := w.exec(ctx, pod, "true"); err != nil {
						return err
					}
				}
				return w.sameContainers(ctx, pods, before)
			}},
			step{"the old ones are kept aside", func() error {
				for m, dir := range map[*vm.Machine]string{server: path.Dir(path.Clean(serverTLS)), agent: path.Clean(agentTLS)} {
					if _, err := m.Run(ctx, "sudo sh -c 'test -e "+dir+"/tls-*/client-kubelet.key'"); err != nil {
						return err
					}
				}
				return nil
			}},
		)
	},
}

// keys returns the digests of a machine's keys, but for those of authorities, by file.
func keys(ctx context.Context, m *vm.Machine) (map[string]string, error) {
	files, err := leafCertificates(ctx, m)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for file := range files {
		file = strings.TrimSuffix(file, ".crt") + ".key"
		out, err := m.Run(ctx, "sudo sha256sum "+file)
		if err != nil {
			return nil, err
		}
		sums[file] = out
	}
	return sums, nil
}
