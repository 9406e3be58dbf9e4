// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// hostWebManifest is a pod on the node's own network, as exporters of metrics are, and a Service of type NodePort in
// front of another pod.
const hostWebManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: host-web, namespace: $NAMESPACE}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: host-web}}
  template:
    metadata: {labels: {app: host-web}}
    spec:
      hostNetwork: true
      nodeSelector: {kubernetes.io/hostname: $NODE}
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: $IMAGE
        imagePullPolicy: Never
        command: [sh, -c, 'mkdir -p /tmp/www && echo host-web >/tmp/www/index.html && exec httpd -f -p 9100 -h /tmp/www']
        readinessProbe: {httpGet: {path: /, port: 9100, host: 127.0.0.1}, periodSeconds: 2, timeoutSeconds: 5}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: $NAMESPACE}
spec:
  type: NodePort
  selector: {app: $NAME}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
`

const (
	hostWebPort = 9100
	nodePort    = 30080
	apiPort     = 6443
	sshPort     = 22
)

var firewall = Scenario{
	Name:   "firewall",
	Suite:  SuiteAll,
	Shows:  "a firewall closes what was open, a port is opened again without a reboot, and the cluster works behind it: an agent joins, pods and Services on other nodes answer",
	Native: true,
	OwnLab: true,
	Run:    runFirewall,
}

func runFirewall(ctx context.Context, t *T) error {
	const namespace = "firewall"
	config := func(hostname, section string, cluster map[string]string) []byte {
		data, err := vm.Override([]byte("#cloud-config\nskerry: {"+section+"}\n"),
			vm.Overrides{Hostname: hostname, AuthorizedKey: t.lab.AuthorizedKey(), Cluster: cluster})
		if err != nil {
			panic(err) // of a constant of this file
		}
		return data
	}
	server := func(section string) []byte {
		return config(serverName, section, map[string]string{"token": "firewall"})
	}
	const (
		closed = "firewall: {}"
		opened = "firewall: {rules: [{name: web, ports: 9100}], node-ports: true}"
	)
	var m, agent *vm.Machine
	var w *workload
	var rules string // of kube-proxy and flannel
	pods := map[string]corev1.Pod{}
	apply := func(section string, flags string) error {
		_, err := m.RunInput(ctx, "sudo skerry config apply "+flags+" -", bytes.NewReader(server(section)))
		return err
	}
	open := func(ports ...int) error { return areOpen(ctx, t.lab, m, ports...) }
	shut := func(ports ...int) error { return areShut(ctx, t.lab, m, ports...) }
	return t.Steps(
		step{"boot " + serverName + " without a firewall until its node is Ready", func() (err error) {
			if m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: server("")}); err != nil {
				return err
			}
			t.server = m
			t.cluster, err = m.WaitServer(ctx)
			return err
		}},
		step{"run a web server on the node's own network, and one behind a NodePort: both are reached from outside", func() (err error) {
			if w, err = newWorkload(ctx, t, namespace); err != nil {
				return err
			}
			if _, err = w.web(ctx, "web-"+serverName, serverName); err != nil {
				return err
			}
			if err := w.apply(ctx, hostWebManifest, "web-"+serverName, serverName); err != nil {
				return err
			}
			if _, err := w.only(ctx, "host-web"); err != nil {
				return err
			}
			return open(hostWebPort, nodePort)
		}},
		step{"turn the firewall on: both are closed, ssh and the API are open, and nobody else's rules have changed", func() (err error) {
			if rules, err = foreignRules(ctx, m); err != nil {
				return err
			}
			if err := apply(closed, ""); err != nil {
				return err
			}
			if err := errors.Join(shut(hostWebPort, nodePort), open(sshPort, apiPort)); err != nil {
				return err
			}
			now, err := foreignRules(ctx, m)
			if err == nil && now != rules {
				err = fmt.Errorf("the tables of others were\n%s\nand are\n%s", rules, now)
			}
			return err
		}},
		step{"what is opened on trial is closed again when nobody confirms it", func() error {
			if err := apply(opened, "--try 15s"); err != nil {
				return err
			}
			if err := open(hostWebPort, nodePort); err != nil {
				return err
			}
			return vm.Wait(ctx, "the trial to be over", 2*time.Minute, func(ctx context.Context) error { return shut(hostWebPort, nodePort) })
		}},
		step{"opened for good, it stays open", func() error {
			if err := apply(opened, ""); err != nil {
				return err
			}
			return open(hostWebPort, nodePort)
		}},
		step{"close it again; an agent with a firewall joins", func() (err error) {
			if err := apply(closed, ""); err != nil {
				return err
			}
			token, err := m.JoinToken(ctx)
			if err != nil {
				return err
			}
			userData := config(agentName, closed, map[string]string{"server": m.URL(), "token": token})
			if agent, err = t.lab.Boot(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: agentMemory}); err != nil {
				return err
			}
			return t.cluster.WaitReady(ctx, agentName)
		}},
		step{"pods reach each other, and Services, across the nodes", func() error {
			if _, err := w.web(ctx, "web-"+agentName, agentName); err != nil {
				return err
			}
			for _, node := range []string{serverName, agentName} {
				found, err := t.cluster.WaitPods(ctx, namespace, "app=web-"+node, 1)
				if err != nil {
					return err
				}
				pods[node] = found[0]
			}
			if err := reaches(ctx, w, pods[serverName], pods[agentName], "web-"+agentName); err != nil {
				return err
			}
			return reaches(ctx, w, pods[agentName], pods[serverName], "web-"+serverName)
		}},
		step{"pods reach what is closed to the outside: the node's own network, and NodePorts, on either node", func() error {
			address := m.Address().String()
			for _, node := range []string{serverName, agentName} {
				pod := pods[node].Name
				if err := w.fetch(ctx, pod, fmt.Sprintf("http://%s:%d/", address, hostWebPort), "host-web"); err != nil {
					return err
				}
				for _, at := range []string{address, agent.Address().String()} {
					if err := w.fetch(ctx, pod, fmt.Sprintf("http://%s:%d/", at, nodePort), pods[serverName].Name); err != nil {
						return err
					}
				}
			}
			return errors.Join(shut(hostWebPort, nodePort), areShut(ctx, t.lab, agent, nodePort, kubeletPort), areOpen(ctx, t.lab, agent, sshPort))
		}},
		step{"kubectl logs and exec reach the agent", func() error {
			if err := kubectlHas(ctx, m, pods[agentName].Name+" is up", "-n", namespace, "logs", pods[agentName].Name); err != nil {
				return err
			}
			_, err := w.exec(ctx, pods[agentName].Name, "true")
			return err
		}},
		step{"after a reboot the firewall is there, and lets the agent in", func() error {
			if err := m.Reboot(ctx); err != nil {
				return err
			}
			if err := saysReady(ctx, m); err != nil {
				return err
			}
			pod, err := w.only(ctx, "web-"+serverName)
			if err != nil {
				return err
			}
			if err := w.fetch(ctx, pods[agentName].Name, "http://web-"+serverName+"/", pod); err != nil {
				return err
			}
			// It listens, and is closed.
			if err := vm.Wait(ctx, "the web server on the node's network", vm.PodTimeout, func(ctx context.Context) error {
				return outputHas(ctx, m, fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d && echo listens'", hostWebPort), "listens")
			}); err != nil {
				return err
			}
			return shut(hostWebPort, nodePort)
		}},
		step{"without the section everything is open, and no table is left", func() error {
			if err := apply("", ""); err != nil {
				return err
			}
			if err := mustFail(ctx, m, "sudo nft list table inet skerry"); err != nil {
				return err
			}
			return open(hostWebPort, nodePort)
		}},
	)
}

// foreignRules are the tables of others with their hooks. What hangs from these changes with the pods.
func foreignRules(ctx context.Context, m *vm.Machine) (string, error) {
	return m.Run(ctx, "sudo nft list chains | awk '$1 == \"table\" {ours = $2 == \"inet\" && $3 == \"skerry\"} !ours && /^table| hook /'")
}

// areOpen checks that ports of a machine take connections from outside of the cluster.
func areOpen(ctx context.Context, lab *vm.Lab, m *vm.Machine, ports ...int) error {
	for _, port := range ports {
		if err := vm.Wait(ctx, fmt.Sprintf("port %d of %s to be open", port, m.Name()), time.Minute, func(ctx context.Context) error {
			return knock(ctx, lab, m, port)
		}); err != nil {
			return err
		}
	}
	return nil
}

// silence is how long a port that answers would take at most.
const silence = 3 * time.Second

// areShut checks that ports of a machine don't answer. That a program listens there is for the scenario to make sure.
func areShut(ctx context.Context, lab *vm.Lab, m *vm.Machine, ports ...int) error {
	for _, port := range ports {
		waited, cancel := context.WithTimeout(ctx, vm.Scaled(silence))
		err := knock(waited, lab, m, port)
		over := waited.Err() != nil
		cancel()
		if err == nil {
			return fmt.Errorf("port %d of %s is open", port, m.Name())
		}
		if !over {
			return fmt.Errorf("port %d of %s is not silent: %w", port, m.Name(), err)
		}
	}
	return nil
}

func knock(ctx context.Context, lab *vm.Lab, m *vm.Machine, port int) error {
	conn, err := lab.Dial(ctx, "tcp", net.JoinHostPort(m.Address().String(), fmt.Sprint(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}
