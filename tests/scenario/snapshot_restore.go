// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

var snapshotRestore = Scenario{
	Name:   "snapshot-restore",
	Suite:  SuiteAll,
	Shows:  "a snapshot that is taken while the cluster is written to, and restored on a new machine with the same token, is the same cluster there: authorities, Secrets, pods, each version of each object, and watches from before are told to read anew; also on one that takes the node's name over",
	Native: true,
	OwnLab: true,
	Run:    func(ctx context.Context, t *T) error { return restores(ctx, t, sqlite) },
}

// restores is the same on each kind of embedded store.
func restores(ctx context.Context, t *T, kind database.Kind) error {
	r := &restored{t: t, kind: kind}
	steps := []step{
		{"a server has a Secret and a Deployment", func() error { return r.begin(ctx) }},
		{"take a snapshot while it is written to", func() error { return r.save(ctx) }},
		{"the machine is lost", func() error { r.machine.PowerCut(); return nil }},
		{"a new one with the same token is another cluster", func() error { return r.replace(ctx, "server-2", "server-2") }},
		{"restore: it is the old one", func() error { return r.restore(ctx) }},
		{"who watched the old one is told to read anew", func() error { return r.relists(ctx) }},
		{"the Deployment runs on the new machine once the old node is deleted", func() error {
			if _, err := r.machine.Kubectl(ctx, "delete", "node", serverName); err != nil {
				return err
			}
			return r.runs(ctx)
		}},
		{"all of it is there after a reboot", func() error {
			if err := r.machine.Reboot(ctx); err != nil {
				return err
			}
			return r.isOld(ctx, "server-2")
		}},
		{"this machine is lost, too", func() (err error) {
			if r.file, err = r.fetch(ctx); err == nil {
				r.machine.PowerCut()
			}
			return err
		}},
		{"a third one has its name, and is another cluster", func() error { return r.replace(ctx, "machine-3", "server-2") }},
		{"restore: it takes the name over", func() error { return r.restore(ctx) }},
		{"the pod runs on it", func() error { return r.runs(ctx) }},
	}
	if kind == embeddedEtcd {
		steps = append(steps, (&other{restored: r}).steps(ctx)...)
	}
	return t.Steps(steps...)
}

// restored is a cluster on one machine after the other.
type restored struct {
	t         *T
	kind      database.Kind
	machine   *vm.Machine
	hostname  string
	cluster   *vm.Cluster
	authority string
	file      string // the snapshot, in base64
	written   *writer
	had       map[string]string // what the writer's objects were at the snapshot's revision
	seen      string            // the last version that the lost cluster told somebody
}

// watchPatience is for one answer to a watch.
const watchPatience = time.Minute

// kindName is how snapshots call the kind of store.
func (r *restored) kindName() string {
	if r.kind == embeddedEtcd {
		return "etcd"
	}
	return string(r.kind)
}

const restoredManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: restored}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: $IMAGE
        imagePullPolicy: Never
        command: [sh, -c, 'exec tail -f /secret/word']
        volumeMounts: [{name: secret, mountPath: /secret}]
      volumes: [{name: secret, secret: {secretName: word}}]
`

func (r *restored) boot(ctx context.Context, name, hostname string) error {
	userData, err := r.t.storedConfig(&kept{kind: r.kind}, hostname, nil)
	if err != nil {
		return err
	}
	if r.machine, err = r.t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData}); err != nil {
		return err
	}
	r.hostname = hostname
	if r.cluster, err = r.machine.WaitAPI(ctx); err != nil {
		return err
	}
	return r.cluster.WaitReady(ctx, hostname)
}

func (r *restored) begin(ctx context.Context) error {
	if err := r.boot(ctx, serverName, serverName); err != nil {
		return err
	}
	image, err := r.cluster.PackagedImage(ctx, serverName, "busybox")
	if err != nil {
		return err
	}
	for _, namespace := range []string{"restored", "writer"} {
		if err := r.cluster.Namespace(ctx, namespace); err != nil {
			return err
		}
	}
	if _, err := r.cluster.CoreV1().Secrets("restored").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "word"}, StringData: map[string]string{"word": "kept"},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := r.machine.Apply(ctx, strings.ReplaceAll(restoredManifest, "$IMAGE", image)); err != nil {
		return err
	}
	if r.authority, err = authorityOf(ctx, r.machine); err != nil {
		return err
	}
	return r.runs(ctx)
}

// save takes a snapshot between two ConfigMaps, while others are written.
func (r *restored) save(ctx context.Context) error {
	configMaps := r.cluster.CoreV1().ConfigMaps("restored")
	r.written = &writer{cluster: r.cluster, namespace: "writer"}
	r.written.start(ctx)
	defer r.written.stop()
	if err := r.written.waitProgress(ctx, 100); err != nil {
		return err
	}
	if _, err := configMaps.Create(ctx, configMap("before", ""), metav1.CreateOptions{}); err != nil {
		return err
	}
	all, err := saveSnapshot(ctx, r.machine)
	if err != nil {
		return err
	}
	if len(all) != 1 || all[0].Place != "disk" || all[0].Kind != r.kindName() || all[0].Node != serverName || all[0].Revision == 0 {
		return fmt.Errorf("it is %+v", all)
	}
	r.t.Note("%d bytes at revision %d", all[0].Size, all[0].Revision)
	if _, err := configMaps.Create(ctx, configMap("after", ""), metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := r.written.waitProgress(ctx, 50); err != nil {
		return err
	}
	if r.had, _, err = r.objects(ctx, fmt.Sprint(all[0].Revision)); err != nil {
		return err
	}
	if _, r.seen, err = r.objects(ctx, ""); err != nil {
		return err
	}
	r.file, err = r.machine.Run(ctx, "sudo base64 "+all[0].Location)
	return err
}

// objects returns the content and version of each of the writer's objects, and the version of all of them: as they are, or
// as they were at a version.
func (r *restored) objects(ctx context.Context, at string) (map[string]string, string, error) {
	options := metav1.ListOptions{}
	if at != "" {
		options = metav1.ListOptions{ResourceVersion: at, ResourceVersionMatch: metav1.ResourceVersionMatchExact}
	}
	list, err := r.cluster.CoreV1().ConfigMaps("writer").List(ctx, options)
	if err != nil {
		return nil, "", err
	}
	all := map[string]string{}
	for i := range list.Items {
		all[list.Items[i].Name] = fmt.Sprintf("%s at version %s", list.Items[i].Data[writtenKey], list.Items[i].ResourceVersion)
	}
	return all, list.ResourceVersion, nil
}

// relists checks that a watch from the last version of the lost cluster is told that it is gone, and one from the present
// version sees what happens.
func (r *restored) relists(ctx context.Context) error {
	client, err := r.machine.Watcher(ctx)
	if err != nil {
		return err
	}
	configMaps := client.CoreV1().ConfigMaps("restored")
	next := func(version string) (watch.Event, error) {
		ctx, cancel := context.WithTimeout(ctx, watchPatience)
		defer cancel()
		watching, err := configMaps.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			return watch.Event{}, err
		}
		defer watching.Stop()
		event, ok := <-watching.ResultChan()
		if !ok {
			return event, fmt.Errorf("a watch from version %s ends without a word", version)
		}
		if event.Type == watch.Error {
			return event, apierrors.FromObject(event.Object)
		}
		return event, nil
	}
	if event, err := next(r.seen); !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		return fmt.Errorf("a watch from version %s gets %v, %w", r.seen, event, unexpected(err))
	}
	list, err := configMaps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if _, err := configMaps.Create(ctx, configMap("restored", ""), metav1.CreateOptions{}); err != nil {
		return err
	}
	event, err := next(list.ResourceVersion)
	if object, ok := event.Object.(*corev1.ConfigMap); err == nil && (!ok || object.Name != "restored") {
		err = fmt.Errorf("it gets %+v", event)
	}
	return err
}

// fetch takes a snapshot, now, and returns it.
func (r *restored) fetch(ctx context.Context) (string, error) {
	all, err := saveSnapshot(ctx, r.machine)
	if err != nil {
		return "", err
	}
	return r.machine.Run(ctx, "sudo base64 "+all[0].Location)
}

// replace boots a machine that is a cluster of its own, and brings the snapshot to it.
func (r *restored) replace(ctx context.Context, name, hostname string) error {
	if err := r.boot(ctx, name, hostname); err != nil {
		return err
	}
	now, err := authorityOf(ctx, r.machine)
	if err != nil {
		return err
	}
	if now == r.authority {
		return fmt.Errorf("it has the authorities of the old cluster already")
	}
	_, err = r.machine.RunInput(ctx, "sudo sh -c 'umask 077; base64 -d >/var/lib/old.snapshot'", strings.NewReader(r.file))
	return err
}

func (r *restored) restore(ctx context.Context) error {
	if err := restoreSnapshot(ctx, r.machine, "/var/lib/old.snapshot"); err != nil {
		return err
	}
	left, err := r.machine.Run(ctx, "sudo sh -c 'ls -d "+serverDir+"/.restore-* "+serverDir+"/restore.json "+serverDir+"/db/.restore-* 2>/dev/null; ls -d "+serverDir+"/before-restore-*/tls'")
	if err != nil {
		return err
	}
	if lines := strings.Fields(left); len(lines) != 1 {
		return fmt.Errorf("left are %q", lines)
	}
	return r.isOld(ctx, r.hostname)
}

// isOld checks that the machine is the old cluster, and its node Ready there.
func (r *restored) isOld(ctx context.Context, node string) error {
	if err := saysReady(ctx, r.machine); err != nil {
		return err
	}
	var err error
	if r.cluster, err = r.machine.WaitAPI(ctx); err != nil {
		return err
	}
	if err := r.cluster.WaitReady(ctx, node); err != nil {
		return err
	}
	if err := sameAuthority(ctx, r.machine, r.authority); err != nil {
		return err
	}
	secret, err := r.cluster.CoreV1().Secrets("restored").Get(ctx, "word", metav1.GetOptions{})
	if err != nil || string(secret.Data["word"]) != "kept" {
		return fmt.Errorf("the Secret is lost: %w", err)
	}
	now, _, err := r.objects(ctx, "")
	if err != nil {
		return err
	}
	if !maps.Equal(now, r.had) {
		return fmt.Errorf("the writer's objects are %d, and were %d at the snapshot's revision: %v, %v", len(now), len(r.had), now, r.had)
	}
	return asTaken(ctx, r.cluster, "restored")
}

// runs waits for the Deployment's pod on this machine's node, and asks it for the Secret.
func (r *restored) runs(ctx context.Context) error {
	return vm.Wait(ctx, "the Deployment's pod on "+r.hostname, vm.PodTimeout, func(ctx context.Context) error {
		pods, err := r.cluster.WaitPods(ctx, "restored", "app=web", 1)
		if err != nil {
			return err
		}
		if pods[0].Spec.NodeName != r.hostname {
			return fmt.Errorf("it is on %s", pods[0].Spec.NodeName)
		}
		out, err := r.machine.Kubectl(ctx, "-n", "restored", "exec", pods[0].Name, "--", "cat", "/secret/word")
		if err == nil && out != "kept" {
			err = fmt.Errorf("its Secret is %q", out)
		}
		return err
	})
}
