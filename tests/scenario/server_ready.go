// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var serverReady = Scenario{
	Name:  "server-ready",
	Suite: SuiteTest,
	Shows: "one YAML gives a Ready server with add-ons, where Deployment, Service, PVC, DNS, logs, exec and port-forward work",
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		var w *workload
		var pod string
		return t.Steps(
			step{"the machine tells that it is Ready", func() error { return saysReady(ctx, server) }},
			step{"/etc/motd is as examples/server.yaml says", func() error {
				return outputHas(ctx, server, "cat /etc/motd", "This is a Skerry server.")
			}},
			step{"CoreDNS, local-path and metrics-server are Running", func() error { return addonsRun(ctx, cluster) }},
			step{"local-path is the default StorageClass", func() error { return defaultStorage(ctx, cluster) }},
			step{"kubectl top node answers", func() error {
				return vm.Wait(ctx, "kubectl top node", vm.PodTimeout, func(ctx context.Context) error {
					return kubectlHas(ctx, server, serverName, "top", "node", "--no-headers")
				})
			}},
			step{"a Deployment, a Service and a PVC come up", func() error {
				if w, err = newWorkload(ctx, t, "server-ready"); err != nil {
					return err
				}
				if err := w.apply(ctx, diaryManifest, "diary", serverName); err != nil {
					return err
				}
				if pod, err = w.web(ctx, "web", serverName); err != nil {
					return err
				}
				_, err = w.only(ctx, "diary")
				return err
			}},
			step{"kubectl logs shows what the pod wrote", func() error {
				return kubectlHas(ctx, server, pod+" is up", "-n", w.namespace, "logs", pod)
			}},
			step{"kubectl exec runs in the pod", func() error {
				got, err := w.exec(ctx, pod, "hostname")
				if err == nil && got != pod {
					err = fmt.Errorf("hostname in the pod is %q, not %q", got, pod)
				}
				return err
			}},
			step{"the PVC holds what the pod wrote", func() error {
				starts, err := w.diary(ctx)
				if err == nil && len(starts) != 1 {
					err = fmt.Errorf("the diary of one start has %d lines: %q", len(starts), starts)
				}
				return err
			}},
			step{"a pod finds Services by DNS", func() error {
				for _, name := range []string{"web.server-ready.svc.cluster.local", "kubernetes.default.svc.cluster.local"} {
					out, err := w.exec(ctx, pod, "nslookup", "-type=a", name)
					if err != nil {
						return err
					}
					if !strings.Contains(out, "Address: 10.43.") {
						return fmt.Errorf("nslookup %s says %q, no address of the Service network", name, out)
					}
				}
				return nil
			}},
			step{"a pod reaches the Service by its name", func() error { return w.fetch(ctx, pod, "http://web/", pod) }},
			step{"kubectl port-forward reaches the pod", func() error { return portForward(ctx, w, pod) }},
			step{"deleting the namespace leaves nothing", func() error { return cluster.DeleteNamespace(ctx, w.namespace) }},
		)
	},
}

func outputHas(ctx context.Context, m *vm.Machine, command, want string) error {
	out, err := m.Run(ctx, command)
	if err == nil && !strings.Contains(out, want) {
		err = fmt.Errorf("%s: %q says %q, not %q", m.Name(), command, out, want)
	}
	return err
}

func kubectlHas(ctx context.Context, m *vm.Machine, want string, args ...string) error {
	out, err := m.Kubectl(ctx, args...)
	if err == nil && !strings.Contains(out, want) {
		err = fmt.Errorf("kubectl %s says %q, not %q", strings.Join(args, " "), out, want)
	}
	return err
}

// statusWait is for a control plane and a node that were started again.
const statusWait = 2 * time.Minute

// saysReady checks that systemd, `skerry status` and the console agree with the cluster.
func saysReady(ctx context.Context, m *vm.Machine) error {
	err := vm.Wait(ctx, "skerry.service to be active", vm.ReadyTimeout, func(ctx context.Context) error {
		out, err := m.Run(ctx, "systemctl show --property=ActiveState --property=StatusText skerry.service")
		if err == nil && !strings.Contains(out, "ActiveState=active") {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
	if err != nil {
		return err
	}
	// A process of the cluster may have been started again since the machine was ready.
	if _, err := m.Run(ctx, "sudo skerry status --wait "+vm.Scaled(statusWait).String()); err != nil {
		return err
	}
	failed, err := m.Run(ctx, "systemctl list-units --failed --plain --no-legend --no-pager")
	if err == nil && strings.TrimSpace(failed) != "" {
		err = fmt.Errorf("failed units: %s", failed)
	}
	return err
}

// statusNotReady returns what skerry status says on a machine whose node isn't Ready.
func statusNotReady(ctx context.Context, m *vm.Machine) (string, error) {
	const exitNotReady = 3
	out, err := m.Run(ctx, "sudo skerry status")
	var failure *vm.RunError
	switch {
	case err == nil:
		return "", fmt.Errorf("the node is Ready: %s", out)
	case errors.As(err, &failure) && failure.Status == exitNotReady:
		return failure.Stdout, nil
	}
	return "", err
}

func addonsRun(ctx context.Context, c *vm.Cluster) error {
	return podsRun(ctx, c, "k8s-app=kube-dns", "app=local-path-provisioner", "k8s-app=metrics-server")
}

// podsRun waits for a pod of each selector in kube-system.
func podsRun(ctx context.Context, c *vm.Cluster, selectors ...string) error {
	for _, selector := range selectors {
		if _, err := c.WaitPods(ctx, metav1.NamespaceSystem, selector, 1); err != nil {
			return err
		}
	}
	return nil
}

func defaultStorage(ctx context.Context, c *vm.Cluster) error {
	list, err := c.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, class := range list.Items {
		if class.Name == "local-path" && class.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			return nil
		}
	}
	return fmt.Errorf("it is not among the %d storage classes", len(list.Items))
}

// portForward runs kubectl port-forward on the server and asks through it, as someone logged in there would.
func portForward(ctx context.Context, w *workload, pod string) error {
	const port = "18080"
	ctx, cancel := context.WithTimeout(ctx, vm.Scaled(2*time.Minute))
	defer cancel()
	forwarding := make(chan error, 1)
	go func() {
		// `timeout` ends it on the machine; cancelling here would hang up the connection that the request goes through.
		_, err := w.server.Kubectl(ctx, "-n", w.namespace, "port-forward", "pod/"+pod, port+":8080")
		forwarding <- err
		close(forwarding)
	}()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return w.server.DialFrom(ctx, "tcp", "127.0.0.1:"+port)
		},
	}}
	err := vm.Wait(ctx, "an answer through the forward", time.Minute, func(ctx context.Context) error {
		select {
		case err := <-forwarding:
			return vm.Never("kubectl port-forward ended: %w", err)
		default:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pod/", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		line, err := bufio.NewReader(answer.Body).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if got := strings.TrimSpace(line); got != pod {
			return fmt.Errorf("it says %q, not %q", got, pod)
		}
		return nil
	})
	if _, killErr := w.server.Run(ctx, "sudo pkill --full --exact 'kubectl .*port-forward.*'"); killErr != nil && err == nil {
		err = fmt.Errorf("stop kubectl port-forward: %w", killErr)
	}
	// Were it still running, the end of ctx would hang up the connection that the next command goes through.
	select {
	case <-forwarding:
	case <-ctx.Done():
	}
	return err
}
