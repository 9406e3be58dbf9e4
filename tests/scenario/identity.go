// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// identity is what makes a machine the same machine after a reboot. Two identities of one machine are equal.
type identity struct {
	machineID    string
	hostKey      string // as the ssh client saw it
	hostKeyFile  string
	nodePassword string // hash of the file
	nodes        string // names and UIDs of all nodes of the cluster
	secret       string // UID and content of the node's password Secret
}

func identityOf(ctx context.Context, m *vm.Machine, c *vm.Cluster, node string) (identity, error) {
	var id identity
	for _, f := range []struct {
		to      *string
		command string
	}{
		{&id.machineID, "cat /etc/machine-id"},
		{&id.hostKeyFile, "sudo sha256sum /etc/ssh/keys/ssh_host_ed25519_key"},
		{&id.nodePassword, "sudo sha256sum /etc/rancher/node/password"},
	} {
		out, err := m.Run(ctx, f.command)
		if err != nil {
			return id, err
		}
		if *f.to = strings.TrimSpace(out); *f.to == "" {
			return id, fmt.Errorf("%s: %q says nothing", m.Name(), f.command)
		}
	}
	id.hostKey = m.HostKey()
	nodes, err := nodesOf(ctx, c)
	if err != nil {
		return id, err
	}
	id.nodes = nodes
	secret, err := c.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, passwordSecret(node), metav1.GetOptions{})
	if err != nil {
		return id, err
	}
	id.secret = describeSecret(secret)
	return id, nil
}

// passwordSecret is the name under which a server keeps the hash of a node's password.
func passwordSecret(node string) string { return node + ".node-password.k3s" }

func describeSecret(s *corev1.Secret) string {
	return fmt.Sprintf("%s %s %v immutable=%v", s.Name, s.UID, s.Data, s.Immutable != nil && *s.Immutable)
}

func nodesOf(ctx context.Context, c *vm.Cluster) (string, error) {
	list, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	var all []string
	for i := range list.Items {
		n := &list.Items[i]
		all = append(all, fmt.Sprintf("%s %s", n.Name, n.UID))
	}
	return strings.Join(all, ", "), nil
}

// sameNodes checks that a cluster has the nodes it had.
func sameNodes(ctx context.Context, c *vm.Cluster, before string) error {
	now, err := nodesOf(ctx, c)
	if err == nil && now != before {
		err = fmt.Errorf("the nodes were %q and are %q", before, now)
	}
	return err
}

// same says what differs between two identities of a machine.
func (id identity) same(now identity) error {
	var errs []error
	for _, f := range []struct{ what, before, now string }{
		{"machine-id", id.machineID, now.machineID},
		{"ssh host key", id.hostKey, now.hostKey},
		{"ssh host key file", id.hostKeyFile, now.hostKeyFile},
		{"node password file", id.nodePassword, now.nodePassword},
		{"nodes", id.nodes, now.nodes},
		{"node password Secret", id.secret, now.secret},
	} {
		if f.before != f.now {
			errs = append(errs, fmt.Errorf("%s was %q and is %q", f.what, f.before, f.now))
		}
	}
	return errors.Join(errs...)
}

// staysItself runs a workload on the shared server, interrupts the machine, and checks that it comes back as the same
// machine with its pods and their data.
func staysItself(ctx context.Context, t *T, namespace, what string, interrupt func(*vm.Machine) error) error {
	server, cluster, err := t.Server(ctx)
	if err != nil {
		return err
	}
	var w *workload
	var before identity
	var starts []string
	return t.Steps(
		step{"run a pod with a PVC and a web server", func() error {
			if w, err = newWorkload(ctx, t, namespace); err != nil {
				return err
			}
			if err := w.apply(ctx, diaryManifest, "diary", serverName); err != nil {
				return err
			}
			if _, err := w.web(ctx, "web", serverName); err != nil {
				return err
			}
			if starts, err = w.diary(ctx); err != nil {
				return err
			}
			before, err = identityOf(ctx, server, cluster, serverName)
			return err
		}},
		step{what, func() error { return interrupt(server) }},
		step{"the node is Ready again", func() error {
			_, err := server.WaitServer(ctx)
			return err
		}},
		step{"it is the same machine", func() error {
			now, err := identityOf(ctx, server, cluster, serverName)
			if err != nil {
				return err
			}
			return before.same(now)
		}},
		step{"the pods come back, with the PVC's data", func() error {
			return vm.Wait(ctx, "a new line in the diary", vm.PodTimeout, func(ctx context.Context) error {
				now, err := w.diary(ctx)
				if err != nil {
					return err
				}
				if len(now) <= len(starts) {
					// The pod of before is still in the API as Ready until the kubelet has looked.
					return fmt.Errorf("the diary has %d lines, as before", len(now))
				}
				if got, want := strings.Join(now[:len(starts)], " "), strings.Join(starts, " "); got != want {
					return vm.Never("the diary began with %q and begins with %q", want, got)
				}
				return nil
			})
		}},
		step{"the web server answers", func() error {
			pod, err := w.only(ctx, "web")
			if err != nil {
				return err
			}
			return w.fetch(ctx, pod, "http://web/", pod)
		}},
		step{"the add-ons run again", func() error { return addonsRun(ctx, cluster) }},
		step{"clean up", func() error { return cluster.DeleteNamespace(ctx, namespace) }},
	)
}
