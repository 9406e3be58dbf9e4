// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

const (
	serverTLS = "/var/lib/rancher/k3s/server/tls/"
	agentTLS  = "/var/lib/rancher/k3s/agent/"

	restartServer = "sudo systemctl restart skerry-control.service skerry-node.service"
	restartAgent  = "sudo systemctl restart skerry-node.service"
)

var caRotated = Scenario{
	Name:   "ca-rotated",
	Suite:  SuiteAll,
	Shows:  "new authorities that the old ones have signed: agents and tokens go on; unrelated ones: an agent is refused until it has the new token; pods stay",
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
		oldToken, err := server.JoinToken(ctx)
		if err != nil {
			return err
		}
		w, pods, err := webOnBoth(ctx, t, "ca-rotated")
		if err != nil {
			return err
		}
		before, err := w.containers(ctx, pods)
		if err != nil {
			return err
		}
		answers := func(ctx context.Context) error {
			return w.fetch(ctx, pods[serverName], "http://web-agent/", pods[agentName])
		}
		err = t.Steps(
			step{"make authorities that the old ones have signed", func() error {
				return outputHas(ctx, server, "sudo skerry certificate rotate-ca --generate", "1. on each server, one after the other:  "+restartServer)
			}},
			step{"restart the server: its nodes, and the kubeconfig of before, go on", func() error {
				if _, err := server.Run(ctx, restartServer); err != nil {
					return err
				}
				if err := hasCertificates(ctx, server, serverTLS+"server-ca.crt", 3); err != nil {
					return err
				}
				if err := staysReady(ctx, cluster, agentName); err != nil {
					return err
				}
				if err := cluster.AreReady(ctx, serverName); err != nil {
					return err
				}
				return answers(ctx)
			}},
			step{"restart the agent: it joins again", func() error {
				if _, err := agent.Run(ctx, restartAgent); err != nil {
					return err
				}
				if err := saysReady(ctx, agent); err != nil {
					return err
				}
				if err := hasCertificates(ctx, agent, agentTLS+"server-ca.crt", 3); err != nil {
					return err
				}
				// Its certificate and the chain of the new authority.
				return hasCertificates(ctx, agent, agentTLS+"client-kubelet.crt", 4)
			}},
			step{"no container was restarted", func() error { return w.sameContainers(ctx, pods, before) }},
			step{"another agent joins with the token of before", func() error {
				userData, err := t.agentConfig(ctx, "agent-2", map[string]string{"token": oldToken})
				if err != nil {
					return err
				}
				if _, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "agent-2", UserData: userData, Memory: agentMemory}); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, "agent-2")
			}},
			step{"unrelated authorities are refused unless they are forced", func() error {
				_, err := server.Run(ctx, "sudo skerry certificate rotate-ca --generate --new-root")
				var failure *vm.RunError
				if !errors.As(err, &failure) || failure.Status != 2 || !strings.Contains(failure.Stderr, "agents need new tokens") {
					return fmt.Errorf("got %w", err)
				}
				return outputHas(ctx, server, "sudo skerry certificate rotate-ca --generate --new-root --force", "put the new one")
			}},
			step{"restart the server with them: its kubeconfig is another, and works", func() error {
				if _, err := server.Run(ctx, restartServer); err != nil {
					return err
				}
				if cluster, err = server.WaitServer(ctx); err != nil {
					return err
				}
				t.cluster, w.cluster = cluster, cluster
				return hasCertificates(ctx, server, serverTLS+"server-ca.crt", 1)
			}},
			step{"reboot the agent", func() error { return agent.Reboot(ctx) }},
		)
		if err != nil {
			return err
		}
		if err := refused(ctx, t, agent, regexp.MustCompile(`has another CA than the one skerry\.cluster\.token was made by; refusing to join it: `+
			`.*the new token is in the server's /var/lib/rancher/k3s/server/node-token`)); err != nil {
			return err
		}
		return t.Steps(
			step{"with the new token it joins", func() error {
				userData, err := t.agentConfig(ctx, agentName, nil)
				if err != nil {
					return err
				}
				if bytes.Contains(userData, []byte(oldToken)) {
					return errors.New("the server's token is the one of before")
				}
				if _, err := agent.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(userData)); err != nil {
					return err
				}
				if err := saysReady(ctx, agent); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, serverName, agentName)
			}},
			step{"its pod answers again, and that of the server was not restarted", func() error {
				if pods[agentName], err = w.only(ctx, "web-agent"); err != nil {
					return err
				}
				if err := answers(ctx); err != nil {
					return err
				}
				return w.sameContainers(ctx, map[string]string{serverName: pods[serverName]}, before)
			}},
			step{"started again, CoreDNS knows of a new Service", func() error {
				if _, err := server.Run(ctx, "sudo kubectl -n kube-system rollout restart deployment"); err != nil {
					return err
				}
				if _, err := cluster.WaitPods(ctx, "kube-system", "k8s-app=kube-dns", 1); err != nil {
					return err
				}
				late, err := w.web(ctx, "late", serverName)
				if err != nil {
					return err
				}
				return w.fetch(ctx, pods[serverName], "http://late/", late)
			}},
		)
	},
}

// certificates reads the certificates of a file.
func certificates(ctx context.Context, m *vm.Machine, file string) ([]*x509.Certificate, error) {
	all, err := certificatesIn(ctx, m, file)
	return all[file], err
}

// certificatesIn reads the certificates of files on a machine, which words of a shell name, at one go: a login for each
// would be an emulated machine's whole work.
func certificatesIn(ctx context.Context, m *vm.Machine, words string) (map[string][]*x509.Certificate, error) {
	const mark = "==> " // head's, with -v, before each file's name
	out, err := m.RunInput(ctx, "sudo sh", strings.NewReader("head -v -n -0 "+words+" </dev/null"))
	if err != nil {
		return nil, err
	}
	all := map[string][]*x509.Certificate{}
	for _, part := range strings.Split(out, mark)[1:] {
		file, text, _ := strings.Cut(part, " <==\n")
		for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s on %s: %w", file, m.Name(), err)
			}
			all[file] = append(all[file], cert)
		}
		if len(all[file]) == 0 {
			return nil, fmt.Errorf("%s on %s has no certificate", file, m.Name())
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no certificates: %q", m.Name(), out)
	}
	return all, nil
}

func hasCertificates(ctx context.Context, m *vm.Machine, file string, want int) error {
	return vm.Wait(ctx, fmt.Sprintf("%d certificates in %s on %s", want, file, m.Name()), vm.ReadyTimeout, func(ctx context.Context) error {
		all, err := certificates(ctx, m, file)
		if err == nil && len(all) != want {
			err = fmt.Errorf("there are %d", len(all))
		}
		return err
	})
}
