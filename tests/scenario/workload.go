// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// webManifest is a Deployment whose pods say their own name to whoever asks, and its Service.
const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: $NAME, namespace: $NAMESPACE}
spec:
  replicas: 1
  selector: {matchLabels: {app: $NAME}}
  template:
    metadata: {labels: {app: $NAME}}
    spec:
      nodeSelector: {kubernetes.io/hostname: $NODE}
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: $IMAGE
        imagePullPolicy: Never
        command: [sh, -c, 'mkdir -p /tmp/www && hostname >/tmp/www/index.html && echo "$(hostname) is up" && exec httpd -f -v -p 8080 -h /tmp/www']
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 2, timeoutSeconds: 5}
---
apiVersion: v1
kind: Service
metadata: {name: $NAME, namespace: $NAMESPACE}
spec:
  selector: {app: $NAME}
  ports: [{port: 80, targetPort: 8080}]
`

// diaryManifest is a pod that adds a line to a file on a PersistentVolume each time it starts.
const diaryManifest = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: diary, namespace: $NAMESPACE}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 16Mi}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: diary, namespace: $NAMESPACE}
spec:
  serviceName: diary
  selector: {matchLabels: {app: diary}}
  template:
    metadata: {labels: {app: diary}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: diary
        image: $IMAGE
        imagePullPolicy: Never
        command: [sh, -c, 'cat /proc/sys/kernel/random/uuid >>/diary/starts && sync && exec tail -f /dev/null']
        volumeMounts: [{name: diary, mountPath: /diary}]
        readinessProbe: {exec: {command: [test, -s, /diary/starts]}, periodSeconds: 5, timeoutSeconds: 20}
      volumes: [{name: diary, persistentVolumeClaim: {claimName: diary}}]
`

// workload fills in manifests and runs them on one server.
type workload struct {
	server    *vm.Machine
	cluster   *vm.Cluster
	image     string
	namespace string
}

// newWorkload makes a namespace to work in and finds out what image to run.
func newWorkload(ctx context.Context, t *T, namespace string) (*workload, error) {
	return newWorkloadOn(ctx, t, namespace, serverName)
}

// newWorkloadOn is newWorkload with the image that a node has.
func newWorkloadOn(ctx context.Context, t *T, namespace, node string) (*workload, error) {
	server, cluster, err := t.Server(ctx)
	if err != nil {
		return nil, err
	}
	image, err := cluster.PackagedImage(ctx, node, "busybox")
	if err != nil {
		return nil, err
	}
	return &workload{server: server, cluster: cluster, image: image, namespace: namespace}, cluster.Namespace(ctx, namespace)
}

func (w *workload) apply(ctx context.Context, manifest, name, node string) error {
	return w.server.Apply(ctx, strings.NewReplacer(
		"$NAMESPACE", w.namespace, "$IMAGE", w.image, "$NAME", name, "$NODE", node,
	).Replace(manifest))
}

// web runs a web server on a node and returns its pod's name.
func (w *workload) web(ctx context.Context, name, node string) (pod string, err error) {
	if err := w.apply(ctx, webManifest, name, node); err != nil {
		return "", err
	}
	return w.only(ctx, name)
}

// only waits for the one pod of an app.
func (w *workload) only(ctx context.Context, app string) (pod string, err error) {
	pods, err := w.cluster.WaitPods(ctx, w.namespace, "app="+app, 1)
	if err != nil {
		return "", err
	}
	return pods[0].Name, nil
}

// exec runs a command in a pod with kubectl exec.
func (w *workload) exec(ctx context.Context, pod string, command ...string) (string, error) {
	out, err := w.server.Kubectl(ctx, append([]string{"-n", w.namespace, "exec", pod, "--"}, command...)...)
	return strings.TrimSpace(out), err
}

// fetch gets a URL from inside a pod and checks what comes. It tries again: a Service reaches its new endpoint when
// kube-proxy has heard of it, which is soon and not at once.
func (w *workload) fetch(ctx context.Context, fromPod, url, want string) error {
	return vm.Wait(ctx, url+" from "+fromPod, vm.PodTimeout, func(ctx context.Context) error {
		got, err := w.exec(ctx, fromPod, "wget", "-q", "-T", "10", "-O", "-", url)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("it says %q, not %q", got, want)
		}
		return nil
	})
}

// diary reads what the diary's pod has written at each of its starts.
func (w *workload) diary(ctx context.Context) ([]string, error) {
	pod, err := w.only(ctx, "diary")
	if err != nil {
		return nil, err
	}
	out, err := w.exec(ctx, pod, "cat", "/diary/starts")
	return strings.Fields(out), err
}

// webOnBoth runs a web server on the shared server and one on the shared agent, and returns their pods by node.
func webOnBoth(ctx context.Context, t *T, namespace string) (w *workload, pods map[string]string, err error) {
	pods = map[string]string{}
	err = t.Step("pods run on both nodes", func() error {
		if w, err = newWorkload(ctx, t, namespace); err != nil {
			return err
		}
		for name, node := range map[string]string{"web-server": serverName, "web-agent": agentName} {
			if pods[node], err = w.web(ctx, name, node); err != nil {
				return err
			}
		}
		return nil
	})
	return w, pods, err
}

// containers says which container each of these pods, by node, has, and how often it was restarted.
func (w *workload) containers(ctx context.Context, pods map[string]string) (map[string]string, error) {
	all := map[string]string{}
	for _, pod := range pods {
		p, err := w.cluster.CoreV1().Pods(w.namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		for _, c := range p.Status.ContainerStatuses {
			all[pod] = fmt.Sprintf("%s, restarted %d times", c.ContainerID, c.RestartCount)
		}
	}
	return all, nil
}

// sameContainers checks that these pods have the containers they had before.
func (w *workload) sameContainers(ctx context.Context, pods, before map[string]string) error {
	now, err := w.containers(ctx, pods)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if now[pod] != before[pod] {
			return fmt.Errorf("pod %s had %s and has %s", pod, before[pod], now[pod])
		}
	}
	return nil
}
