// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

var datastoreMigrate = Scenario{
	Name:   "datastore-migrate",
	Suite:  SuiteAll,
	Shows:  "a cluster moves from SQLite to PostgreSQL, to an embedded etcd and back: objects, Secrets and authorities are the same, no pod is restarted, kubelets and watches go on, and nothing starts on what was left",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		postgres, err := t.keep(ctx, database.Postgres)
		if err != nil {
			return err
		}
		defer postgres.close()
		m := &migrated{t: t}
		if err := t.Step("a server on SQLite, an agent", func() error { return m.begin(ctx) }); err != nil {
			return err
		}
		w, pods, err := webOnBoth(ctx, t, "migrated")
		if err != nil {
			return err
		}
		m.work, m.pods = w, pods
		if err := m.populate(ctx); err != nil {
			return err
		}
		at := &kept{kind: sqlite}
		for _, to := range []*kept{postgres, {kind: embeddedEtcd}, {kind: sqlite}} {
			if err := m.migrate(ctx, at, to); err != nil {
				return fmt.Errorf("%s to %s: %w", at.kind, to.kind, err)
			}
			at = to
		}
		return nil
	},
}

// migrated is a cluster that moves from one datastore to another.
type migrated struct {
	t          *T
	work       *workload
	pods       map[string]string // by node
	containers map[string]string
	authority  string
	had        map[string]string // objects, by kind and name
	seen       string            // the last version that somebody was told of
}

func (m *migrated) begin(ctx context.Context) error {
	userData, err := m.t.storedConfig(&kept{kind: sqlite}, serverName, nil)
	if err != nil {
		return err
	}
	if m.t.server, err = m.t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData}); err != nil {
		return err
	}
	if m.t.cluster, err = m.t.server.WaitServer(ctx); err != nil {
		return err
	}
	if _, err = m.t.Agent(ctx); err != nil {
		return err
	}
	m.authority, err = authorityOf(ctx, m.t.server)
	return err
}

func (m *migrated) populate(ctx context.Context) error {
	core := m.t.cluster.CoreV1()
	if _, err := core.Secrets("migrated").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "word"}, StringData: map[string]string{"word": "kept"},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for i := range 200 {
		if _, err := core.ConfigMaps("migrated").Create(ctx, configMap(fmt.Sprint("map-", i), strings.Repeat("x", i)), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	var err error
	m.containers, err = m.work.containers(ctx, m.pods)
	return err
}

// objects returns what nobody but the scenario changes, without versions.
func (m *migrated) objects(ctx context.Context) (all map[string]string, version string, err error) {
	all = map[string]string{}
	add := func(kind string, object metav1.Object) {
		object.SetResourceVersion("")
		text, failed := json.Marshal(object)
		if failed != nil {
			err = failed
		}
		all[kind+"/"+object.GetName()] = string(text)
	}
	core := m.t.cluster.CoreV1()
	configMaps, failed := core.ConfigMaps("migrated").List(ctx, metav1.ListOptions{})
	if failed != nil {
		return nil, "", failed
	}
	for i := range configMaps.Items {
		add("configmap", &configMaps.Items[i])
	}
	secrets, failed := core.Secrets("migrated").List(ctx, metav1.ListOptions{})
	if failed != nil {
		return nil, "", failed
	}
	for i := range secrets.Items {
		add("secret", &secrets.Items[i])
	}
	services, failed := core.Services("").List(ctx, metav1.ListOptions{})
	if failed != nil {
		return nil, "", failed
	}
	for i := range services.Items {
		add("service", &services.Items[i])
	}
	return all, configMaps.ResourceVersion, err
}

func (m *migrated) migrate(ctx context.Context, from, to *kept) error {
	server := m.t.server
	userData, err := m.t.storedConfig(to, serverName, nil)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s to %s: ", from.kind, to.kind)
	return m.t.Steps(
		step{name + "stop the control plane", func() (err error) {
			if m.had, m.seen, err = m.objects(ctx); err != nil {
				return err
			}
			if _, err := server.RunInput(ctx, migrateCommand(to), strings.NewReader(endpointOf(to))); err == nil || !strings.Contains(err.Error(), "stop the control plane first") {
				return fmt.Errorf("while it runs: %w", unexpected(err))
			}
			_, err = server.Run(ctx, "sudo systemctl stop skerry-control.service")
			return err
		}},
		step{name + "migrate", func() error { return m.move(ctx, to) }},
		step{name + "nothing starts with the old configuration", func() error {
			if _, err := server.Run(ctx, "sudo systemctl start --no-block skerry-control.service"); err != nil {
				return err
			}
			if err := vm.Wait(ctx, "the control plane to refuse", time.Minute, func(ctx context.Context) error {
				out, err := server.Run(ctx, "sudo journalctl -u skerry-control.service -n 20 -o cat")
				if err == nil && !strings.Contains(out, "datastore was moved to") {
					err = fmt.Errorf("it says %s", out)
				}
				return err
			}); err != nil {
				return err
			}
			_, err := server.Run(ctx, "sudo systemctl stop skerry-control.service; sudo systemctl reset-failed skerry-control.service || true")
			return err
		}},
		step{name + "change the configuration and start", func() error {
			if _, err := server.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(userData)); err != nil {
				return err
			}
			if _, err := server.Run(ctx, "sudo systemctl start --no-block skerry-control.service"); err != nil {
				return err
			}
			m.t.cluster, err = server.WaitAPI(ctx)
			m.work.cluster = m.t.cluster
			return err
		}},
		step{name + "everything is there", func() error { return m.same(ctx) }},
		step{name + "watches of before are told to read anew", func() error { return m.expired(ctx) }},
		step{name + "a new pod runs on the agent", func() error {
			_, err := m.work.web(ctx, "after-"+string(to.kind), agentName)
			return err
		}},
	)
}

// migrateCommand gets the endpoint on standard input, if it needs one.
func migrateCommand(to *kept) string {
	command := "sudo skerry datastore migrate -o json --to "
	switch to.kind {
	case sqlite:
		return command + "sqlite"
	case embeddedEtcd:
		return command + "etcd"
	}
	return command + "- --to-cafile /etc/rancher/k3s/migrate-ca.crt"
}

func endpointOf(to *kept) string {
	if to.db == nil {
		return ""
	}
	return to.db.Endpoint(databaseName)
}

func (m *migrated) move(ctx context.Context, to *kept) error {
	if to.db != nil {
		if _, err := m.t.server.RunInput(ctx, "sudo tee /etc/rancher/k3s/migrate-ca.crt", bytes.NewReader(to.db.CA)); err != nil {
			return err
		}
	}
	for _, flag := range []string{" --dry-run", ""} {
		out, err := m.t.server.RunInput(ctx, migrateCommand(to)+flag, strings.NewReader(endpointOf(to)))
		if err != nil {
			return err
		}
		if strings.Contains(out, database.Password) {
			return fmt.Errorf("it shows the password: %s", out)
		}
		var report struct {
			Keys, Expiring           int
			FromRevision, ToRevision int64
			Done                     bool
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if report.Keys < len(m.had) || report.Expiring == 0 || report.Done != (flag == "") || report.Done && report.ToRevision <= report.FromRevision {
			return fmt.Errorf("it says %s", out)
		}
		m.t.Note("%+v", report)
	}
	return nil
}

func (m *migrated) same(ctx context.Context) error {
	if err := m.t.cluster.WaitReady(ctx, serverName, agentName); err != nil {
		return err
	}
	now, _, err := m.objects(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(m.had)) {
		if now[name] != m.had[name] {
			return fmt.Errorf("%s was %s, and is %s", name, m.had[name], now[name])
		}
	}
	secret, err := m.t.cluster.CoreV1().Secrets("migrated").Get(ctx, "word", metav1.GetOptions{})
	if err != nil || string(secret.Data["word"]) != "kept" {
		return fmt.Errorf("the Secret is lost: %w", err)
	}
	if err := sameAuthority(ctx, m.t.server, m.authority); err != nil {
		return err
	}
	return m.work.sameContainers(ctx, m.pods, m.containers)
}

// expired checks that a watch from a version of the datastore before is told that it is gone.
func (m *migrated) expired(ctx context.Context) error {
	client, err := m.t.server.Watcher(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	watching, err := client.CoreV1().ConfigMaps("migrated").Watch(ctx, metav1.ListOptions{ResourceVersion: m.seen})
	if err == nil {
		defer watching.Stop()
		event := <-watching.ResultChan()
		if event.Type != watch.Error {
			return fmt.Errorf("a watch from version %s gets %+v", m.seen, event)
		}
		err = apierrors.FromObject(event.Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		return fmt.Errorf("a watch from version %s gets %w", m.seen, unexpected(err))
	}
	return nil
}
