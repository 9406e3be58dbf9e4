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
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
	"github.com/skerry-os/skerry/tests/vm/ethernet"
)

var agentlessServer = Scenario{
	Name:   "agentless-server",
	Suite:  SuiteAll,
	Shows:  "a server with disable-agent has no Node and runs no pods; logs, exec and an aggregated API go through the tunnel of its agent, in each egress-selector-mode what that allows",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.agentlessServer(ctx)
		if err != nil {
			return err
		}
		if err := t.Steps(
			step{"the machine tells that it is Ready, and runs no pods", func() error {
				if err := saysReady(ctx, server); err != nil {
					return err
				}
				return outputHas(ctx, server, "sudo skerry status", "server, runs no pods")
			}},
			step{"it has no kubelet, no containerd and no Node", func() error {
				for _, unit := range []string{"skerry-node", "skerry-containerd", "skerry-images"} {
					if err := mustFail(ctx, server, "systemctl is-active "+unit+".service"); err != nil {
						return err
					}
				}
				if err := mustFail(ctx, server, "sudo test -e /run/k3s/containerd/containerd.sock"); err != nil {
					return err
				}
				names, err := cluster.NodeNames(ctx)
				if err == nil && len(names) > 0 {
					err = fmt.Errorf("there are nodes %v", names)
				}
				return err
			}},
		); err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		e := &egress{t: t, server: server, agent: agent, cluster: cluster}
		return t.Steps(
			step{"CoreDNS and a web server run on the agent, and metrics-server for its API", func() error { return e.deploy(ctx) }},
			step{"the server is not on the pods' network", func() error {
				return mustFail(ctx, server, fmt.Sprintf("timeout 5 bash -c '</dev/tcp/%s/8080'", e.podIP))
			}},
			step{"mode pod: logs, exec, port-forward and the aggregated API", func() error { return e.reaches(ctx, true) }},
			step{"mode pod: the agent dials nothing else for the server", func() error { return e.refuses(ctx) }},
			step{"mode agent is warned of, and reaches kubelets only", func() error {
				if err := e.setMode(ctx, "agent"); err != nil {
					return err
				}
				if err := outputHas(ctx, server, "sudo skerry config validate /tmp/user-data 2>&1", "set egress-selector-mode to cluster or pod"); err != nil {
					return err
				}
				return e.reaches(ctx, false)
			}},
			step{"mode cluster: logs, exec, port-forward and the aggregated API", func() error {
				if err := e.setMode(ctx, "cluster"); err != nil {
					return err
				}
				return e.reaches(ctx, true)
			}},
			step{"mode cluster: the agent dials nothing else for the server", func() error { return e.refuses(ctx) }},
			step{"mode disabled: the kubelet is reached directly, and only so", func() error {
				if err := e.setMode(ctx, "disabled"); err != nil {
					return err
				}
				return e.direct(ctx)
			}},
			step{"reboot the server: it is Ready again, still without a Node", func() error {
				if err := server.Reboot(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, server); err != nil {
					return err
				}
				names, err := cluster.NodeNames(ctx)
				if err == nil && (len(names) != 1 || names[0] != agentName) {
					err = fmt.Errorf("there are nodes %v", names)
				}
				return err
			}},
		)
	},
}

// agentlessServer boots the scenario's server, which takes the place of the shared one.
func (t *T) agentlessServer(ctx context.Context) (*vm.Machine, *vm.Cluster, error) {
	err := t.Step("boot "+serverName+" without an agent until its API answers", func() error {
		userData, err := t.exampleConfig("server.yaml", vm.Overrides{
			Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey(),
			Cluster: map[string]string{"disable-agent": "true", "egress-selector-mode": "pod"},
		})
		if err != nil {
			return err
		}
		server, err := t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData})
		if err != nil {
			return err
		}
		cluster, err := server.WaitAPI(ctx)
		if err != nil {
			return err
		}
		t.server, t.cluster = server, cluster
		return nil
	})
	return t.server, t.cluster, err
}

// egress is what a server reaches through the tunnel of an agent.
type egress struct {
	t             *T
	server, agent *vm.Machine
	cluster       *vm.Cluster
	w             *workload
	pod, podIP    string
}

// metricsManifest is metrics-server without its readiness: on native machines there are no numbers for it to serve. That
// its API is there is all that is asked for.
const metricsManifest = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: metrics, namespace: $NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metrics-of-scenario}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: metrics, namespace: $NAMESPACE}]
---
apiVersion: v1
kind: Service
metadata: {name: metrics, namespace: $NAMESPACE}
spec:
  selector: {app: metrics}
  ports: [{port: 443, targetPort: 10250}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: metrics, namespace: $NAMESPACE}
spec:
  selector: {matchLabels: {app: metrics}}
  template:
    metadata: {labels: {app: metrics}}
    spec:
      serviceAccountName: metrics
      terminationGracePeriodSeconds: 1
      containers:
      - name: metrics
        image: $IMAGE
        imagePullPolicy: Never
        args: [--cert-dir=/tmp, --secure-port=10250, --kubelet-use-node-status-port]
        readinessProbe: {tcpSocket: {port: 10250}, periodSeconds: 2}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  service: {name: metrics, namespace: $NAMESPACE}
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
`

func (e *egress) deploy(ctx context.Context) (err error) {
	if e.w, err = newWorkloadOn(ctx, e.t, "egress", agentName); err != nil {
		return err
	}
	if _, err := e.cluster.WaitPods(ctx, metav1.NamespaceSystem, "k8s-app=kube-dns", 1); err != nil {
		return err
	}
	if e.pod, err = e.w.web(ctx, "web", agentName); err != nil {
		return err
	}
	pod, err := e.cluster.CoreV1().Pods(e.w.namespace).Get(ctx, e.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	e.podIP = pod.Status.PodIP
	metrics := *e.w
	if metrics.image, err = e.cluster.PackagedImage(ctx, agentName, "metrics-server"); err != nil {
		return err
	}
	if err := metrics.apply(ctx, metricsManifest, "metrics", agentName); err != nil {
		return err
	}
	_, err = metrics.only(ctx, "metrics")
	return err
}

// reaches asks for everything that goes through a tunnel, while nothing goes from the server to the kubelet past it.
func (e *egress) reaches(ctx context.Context, pods bool) error {
	node, err := e.cluster.CoreV1().Nodes().Get(ctx, agentName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got := node.Labels["egress.k3s.io/cluster"] == "true"; got != pods {
		return fmt.Errorf("node %s has the labels %v", agentName, node.Labels)
	}
	if err := vm.Wait(ctx, "the tunnel", vm.PodTimeout, func(ctx context.Context) error {
		return throughTunnel(ctx, e.t.lab, e.server, e.agent, e.w, e.pod)
	}); err != nil {
		return err
	}
	if err := portForward(ctx, e.w, e.pod); err != nil {
		return err
	}
	if pods {
		return vm.Wait(ctx, "the aggregated API", vm.PodTimeout, func(ctx context.Context) error {
			return kubectlHas(ctx, e.server, "PodMetrics", "get", "--raw", "/apis/metrics.k8s.io/v1beta1")
		})
	}
	return vm.Wait(ctx, "the aggregated API to be out of reach", vm.PodTimeout, func(ctx context.Context) error {
		out, err := e.server.Kubectl(ctx, "get", "--raw", "/apis/metrics.k8s.io/v1beta1")
		if err == nil {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
}

// notDialed is the agent's line.
var notDialed = regexp.MustCompile(`server asked for an address that this node doesn't dial for it`)

// refuses asks the server for things on the agent that are none of its business, with the rights of an administrator.
func (e *egress) refuses(ctx context.Context) error {
	// A pod can be asked so, which shows that the question is put right.
	if got, err := e.ask(ctx, e.podIP+":8080"); err != nil || !strings.Contains(got, e.pod) {
		return fmt.Errorf("the pod says %q, %w", got, err)
	}
	before, err := e.agent.Run(ctx, "sudo journalctl -u skerry-node.service --no-pager -o cat")
	if err != nil {
		return err
	}
	ssh := net.JoinHostPort(e.agent.Address().String(), "22")
	if got, err := e.ask(ctx, ssh); err == nil && got != "" {
		return fmt.Errorf("sshd of the agent says %q to the server", got)
	}
	count := func(s string) int { return len(notDialed.FindAllString(s, -1)) }
	return vm.Wait(ctx, "the agent to tell of one refusal", time.Minute, func(ctx context.Context) error {
		after, err := e.agent.Run(ctx, "sudo journalctl -u skerry-node.service --no-pager -o cat")
		if err == nil && count(after) != count(before)+1 {
			err = fmt.Errorf("it tells of %d, and told of %d before", count(after), count(before))
		}
		return err
	})
}

// ask has the server connect to an address, as kube-apiserver does, asks for a page there, and returns what comes.
func (e *egress) ask(ctx context.Context, address string) (string, error) {
	conn, err := e.cluster.DialTLS(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(vm.Scaled(20 * time.Second))); err != nil {
		return "", err
	}
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	answer, err := io.ReadAll(reader)
	return string(answer), err
}

// setMode changes the mode in a file of K3s', on the running server, and has the agent take it up.
func (e *egress) setMode(ctx context.Context, mode string) error {
	for _, command := range []string{
		"sudo mkdir -p /etc/rancher/k3s/config.yaml.d",
		"echo 'egress-selector-mode: " + mode + "' | sudo tee /etc/rancher/k3s/config.yaml.d/mode.yaml",
		// What somebody would try first on another machine.
		"printf '#cloud-config\\nskerry: {cluster: {disable-agent: true, egress-selector-mode: %s}}\\n' " + mode + " >/tmp/user-data",
		"sudo skerry config apply",
		"sudo skerry status --wait 3m",
	} {
		if _, err := e.server.Run(ctx, command); err != nil {
			return err
		}
	}
	if _, err := e.agent.Run(ctx, "sudo systemctl restart skerry-node.service"); err != nil {
		return err
	}
	if err := saysReady(ctx, e.agent); err != nil {
		return err
	}
	return e.cluster.WaitReady(ctx, agentName)
}

// direct shows that no tunnel is used: with the kubelet out of the server's reach, nothing works.
func (e *egress) direct(ctx context.Context) error {
	if err := vm.Wait(ctx, "exec without a tunnel", vm.PodTimeout, func(ctx context.Context) error {
		_, err := e.w.exec(ctx, e.pod, "true")
		return err
	}); err != nil {
		return err
	}
	flow := ethernet.Flow{Src: e.server.Address(), Dst: e.agent.Address(), Protocol: tcp, DstPort: kubeletPort}
	e.t.lab.Block(flow)
	defer e.t.lab.Unblock(flow)
	short, cancel := context.WithTimeout(ctx, vm.Scaled(10*time.Second))
	defer cancel()
	if _, err := e.server.Kubectl(short, "-n", e.w.namespace, "logs", "--request-timeout=8s", e.pod); err == nil {
		return errors.New("logs came through a tunnel")
	}
	return nil
}
