// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	apiPort        = "6443"
	kubeconfigPath = "/etc/rancher/k3s/k3s.yaml"
	// requestTimeout bounds one request: a server that lost its power never answers.
	requestTimeout = 20 * time.Second
)

// Cluster is the Kubernetes API of one server, seen from outside, with the rights of its admin kubeconfig.
//
// Waiting goes through here rather than through kubectl on the machine: starting kubectl costs an emulated machine more
// than most things that are waited for.
type Cluster struct {
	*kubernetes.Clientset
	server *Machine
}

// Kubeconfig is the server's admin kubeconfig as it is on the machine.
func (m *Machine) Kubeconfig(ctx context.Context) ([]byte, error) {
	out, err := m.Run(ctx, "sudo cat "+kubeconfigPath)
	return []byte(out), err
}

// Cluster returns the API of this server. The server must have written its kubeconfig; it need not answer yet.
func (m *Machine) Cluster(ctx context.Context) (*Cluster, error) {
	config, err := m.restConfig(ctx)
	if err != nil {
		return nil, err
	}
	return m.client(config)
}

// ClusterFrom returns the API of this server's cluster as a process on another machine sees it that asks at an address of
// its own, such as an agent's load balancer. Each request has until timeout.
func (m *Machine) ClusterFrom(ctx context.Context, on *Machine, address string, timeout time.Duration) (*Cluster, error) {
	config, err := m.restConfig(ctx)
	if err != nil {
		return nil, err
	}
	config.Timeout = timeout
	config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return on.DialFrom(ctx, "tcp", address) }
	return m.client(config)
}

// Watcher is Cluster for watches, which no timeout ends.
func (m *Machine) Watcher(ctx context.Context) (*Cluster, error) {
	config, err := m.restConfig(ctx)
	if err != nil {
		return nil, err
	}
	config.Timeout = 0
	return m.client(config)
}

func (m *Machine) client(config *rest.Config) (*Cluster, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", m.cfg.Name, err)
	}
	return &Cluster{Clientset: clients, server: m}, nil
}

// DialTLS connects to the server's port with the certificate of its admin kubeconfig.
func (c *Cluster) DialTLS(ctx context.Context) (*tls.Conn, error) {
	config, err := c.server.restConfig(ctx)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	tlsConfig.ServerName = "kubernetes" // a name of every server
	conn, err := config.Dial(ctx, "tcp", "")
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, tlsConfig)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func (m *Machine) restConfig(ctx context.Context) (*rest.Config, error) {
	kubeconfig, err := m.Kubeconfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", m.cfg.Name, err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %s: %w", m.cfg.Name, kubeconfigPath, err)
	}
	config.Timeout = requestTimeout
	config.QPS, config.Burst = 100, 200
	// The kubeconfig says 127.0.0.1, which is right on the machine. The certificate is checked against that name.
	config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return m.lab.Dial(ctx, "tcp", net.JoinHostPort(m.Address().String(), apiPort))
	}
	return config, nil
}

// WaitServer waits until the machine is a server whose own node is Ready, and returns its API.
func (m *Machine) WaitServer(ctx context.Context) (*Cluster, error) {
	c, err := m.WaitAPI(ctx)
	if err != nil {
		return nil, err
	}
	return c, c.WaitReady(ctx, m.cfg.Name)
}

// WaitAPI waits until the machine is a server whose API answers, and returns that.
func (m *Machine) WaitAPI(ctx context.Context) (*Cluster, error) {
	if err := m.WaitSSH(ctx); err != nil {
		return nil, err
	}
	var c *Cluster
	err := Wait(ctx, "the Kubernetes API of "+m.cfg.Name, ReadyTimeout, func(ctx context.Context) error {
		// A refused connection costs a booting machine nothing; a shell that runs sudo each second would slow it down.
		conn, err := m.lab.Dial(ctx, "tcp", net.JoinHostPort(m.Address().String(), apiPort))
		if err != nil {
			return fmt.Errorf("%w; the console ends with %q", err, m.Console().Last().Text)
		}
		conn.Close()
		if c == nil { // as for the shell: once is enough
			if c, err = m.Cluster(ctx); err != nil {
				return err
			}
		}
		_, err = c.Discovery().ServerVersion()
		return err
	})
	return c, err
}

// WaitReady waits until all nodes of these names are Ready.
func (c *Cluster) WaitReady(ctx context.Context, nodes ...string) error {
	return Wait(ctx, "Ready of "+strings.Join(nodes, ", "), ReadyTimeout, func(ctx context.Context) error {
		return c.AreReady(ctx, nodes...)
	})
}

// AreReady says which nodes of these names are not Ready now, and why.
func (c *Cluster) AreReady(ctx context.Context, nodes ...string) error {
	var unready []error
	for _, name := range nodes {
		node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			unready = append(unready, err)
		} else if ready, why := nodeReady(node); !ready {
			unready = append(unready, fmt.Errorf("node %s: %s", name, why))
		}
	}
	return errors.Join(unready...)
}

// WaitNotReady waits until the cluster has noticed that a node is gone.
func (c *Cluster) WaitNotReady(ctx context.Context, name string) error {
	return Wait(ctx, "the cluster to notice that "+name+" is gone", ReadyTimeout, func(ctx context.Context) error {
		node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ready, _ := nodeReady(node); ready {
			return fmt.Errorf("node %s is Ready", name)
		}
		return nil
	})
}

func nodeReady(node *corev1.Node) (ready bool, why string) {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue, fmt.Sprintf("Ready is %s: %s", c.Status, c.Message)
		}
	}
	return false, "it has no Ready condition yet"
}

// NodeNames returns the names of all nodes, sorted.
func (c *Cluster) NodeNames(ctx context.Context) ([]string, error) {
	list, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names, nil
}

// WaitPods waits until at least want pods match the label selector and all that match are Ready. It returns them.
func (c *Cluster) WaitPods(ctx context.Context, namespace, selector string, want int) ([]corev1.Pod, error) {
	var ready []corev1.Pod
	what := fmt.Sprintf("%d Ready pods %s in %s", want, selector, namespace)
	err := Wait(ctx, what, PodTimeout, func(ctx context.Context) error {
		list, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		ready = nil
		var others []string
		for i := range list.Items {
			// A pod that a node's graceful shutdown ended stays on the list, and another takes its place.
			if phase := list.Items[i].Status.Phase; phase == corev1.PodFailed || phase == corev1.PodSucceeded {
				continue
			}
			if ok, why := podReady(&list.Items[i]); ok {
				ready = append(ready, list.Items[i])
			} else {
				others = append(others, list.Items[i].Name+" "+why)
			}
		}
		if len(ready) < want || len(others) > 0 {
			return fmt.Errorf("%d are Ready; not: %s", len(ready), strings.Join(others, ", "))
		}
		return nil
	})
	return ready, err
}

func podReady(p *corev1.Pod) (ready bool, why string) {
	if p.DeletionTimestamp != nil {
		return false, "is being deleted"
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil {
			return false, fmt.Sprintf("is %s, waiting: %s %s", p.Status.Phase, s.State.Waiting.Reason, s.State.Waiting.Message)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return true, ""
		}
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			return false, "is not scheduled: " + c.Message
		}
	}
	return false, fmt.Sprintf("is %s", p.Status.Phase)
}

// Namespace makes a namespace that is empty: one of the same name is deleted first.
func (c *Cluster) Namespace(ctx context.Context, name string) error {
	if err := c.DeleteNamespace(ctx, name); err != nil {
		return err
	}
	return Wait(ctx, "namespace "+name, PodTimeout, func(ctx context.Context) error {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := c.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		// Pods are refused until the controller has made the service account, which no wait on the pods would show.
		_, err = c.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// DeleteNamespace deletes a namespace and waits until it is gone. One that is not there is no error.
func (c *Cluster) DeleteNamespace(ctx context.Context, name string) error {
	now := int64(0)
	err := c.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return Wait(ctx, "namespace "+name+" to be gone", PodTimeout, func(ctx context.Context) error {
		ns, err := c.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		var why []string
		for _, c := range ns.Status.Conditions {
			if c.Status == corev1.ConditionTrue {
				why = append(why, c.Message)
			}
		}
		return fmt.Errorf("it is %s: %s", ns.Status.Phase, strings.Join(why, "; "))
	})
}

// PackagedImage returns the name, with tag, of a container image that came with the OS: "busybox" is
// "skerry.local/busybox:1.37.0".
func (c *Cluster) PackagedImage(ctx context.Context, node, name string) (string, error) {
	const packaged = "skerry.local/"
	var image string
	err := Wait(ctx, "image "+name+" on "+node, PodTimeout, func(ctx context.Context) error {
		n, err := c.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var has []string
		for _, i := range n.Status.Images {
			for _, tag := range i.Names {
				if strings.HasPrefix(tag, packaged+name+":") && !strings.Contains(tag, "@") {
					image = tag
					return nil
				}
				has = append(has, tag)
			}
		}
		return fmt.Errorf("the node has %s", strings.Join(has, ", "))
	})
	return image, err
}

// URL is where other machines join this server.
func (m *Machine) URL() string {
	return "https://" + net.JoinHostPort(m.Address().String(), apiPort)
}

// JoinToken reads the token that agents join this server with, from where K3s' users look for it.
func (m *Machine) JoinToken(ctx context.Context) (string, error) {
	out, err := m.Run(ctx, "sudo cat /var/lib/rancher/k3s/server/node-token")
	if err != nil {
		return "", fmt.Errorf("read the join token of %s: %w", m.cfg.Name, err)
	}
	return strings.TrimSpace(out), nil
}
