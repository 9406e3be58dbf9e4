// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

// Where machines find the database.
const databaseName = "database.lab.example"

var databaseAddress = netip.MustParseAddr("192.168.127.250")

// clusterToken is the token of clusters whose servers find each other by it.
const clusterToken = "the-token-that-all-servers-have"

// Kinds of datastore that are no database of their own.
const (
	sqlite       database.Kind = "sqlite"
	embeddedEtcd database.Kind = "embedded-etcd"
)

// kept is what keeps a scenario's clusters.
type kept struct {
	kind database.Kind
	db   *database.Server // nil for what the servers keep themselves
	// first is the server that others join, where they keep an etcd themselves; "" for the first.
	first string
}

// keep starts a database, if the kind is one, and makes it known to the machines of the lab. The caller closes it.
func (t *T) keep(ctx context.Context, kind database.Kind) (*kept, error) {
	k := &kept{kind: kind}
	if kind == sqlite || kind == embeddedEtcd {
		return k, nil
	}
	return k, t.Step("start "+string(kind), func() (err error) {
		log := filepath.Join(filepath.Dir(t.lab.KeyFile()), string(kind)+".log")
		if k.db, err = database.Start(ctx, kind, log, databaseName); err != nil {
			return err
		}
		_, err = t.lab.Expose(databaseAddress, k.db.Port(), k.db.Address, databaseName)
		return err
	})
}

func (k *kept) close() {
	if k.db != nil {
		k.db.Close()
	}
}

// storedConfig is examples/server.yaml for a server whose cluster is kept so. Arguments of kube-apiserver are as
// name=value.
func (t *T) storedConfig(k *kept, hostname string, cluster map[string]string, apiserver ...string) ([]byte, error) {
	o := vm.Overrides{
		Hostname: hostname, AuthorizedKey: t.lab.AuthorizedKey(),
		Cluster:       map[string]string{"token": clusterToken},
		APIServerArgs: apiserver,
		Files:         map[string]string{},
	}
	switch {
	case k.db != nil:
		o.Cluster["datastore-endpoint"] = k.db.Endpoint(databaseName)
		o.Cluster["datastore-cafile"] = "/etc/rancher/k3s/datastore-ca.crt"
		o.Files["/etc/rancher/k3s/datastore-ca.crt"] = string(k.db.CA)
	case k.kind == embeddedEtcd && k.first == "":
		o.Cluster["cluster-init"] = "true"
	case k.kind == embeddedEtcd:
		o.Cluster["server"] = k.first
	}
	if k.kind == database.Etcd {
		o.Cluster["datastore-certfile"] = "/etc/rancher/k3s/datastore.crt"
		o.Cluster["datastore-keyfile"] = "/etc/rancher/k3s/datastore.key"
		o.Files["/etc/rancher/k3s/datastore.crt"] = string(k.db.Cert)
		o.Files["/etc/rancher/k3s/datastore.key"] = string(k.db.Key)
	}
	for key, value := range cluster {
		o.Cluster[key] = value
	}
	return t.exampleConfig("server.yaml", o)
}

// servers boots servers of one cluster at once.
func (t *T) servers(ctx context.Context, k *kept, cluster map[string]string, names ...string) ([]*vm.Machine, *vm.Cluster, error) {
	var machines []*vm.Machine
	var api *vm.Cluster
	err := t.Step(fmt.Sprintf("boot %d servers at once", len(names)), func() error {
		for _, name := range names {
			userData, err := t.storedConfig(k, name, cluster)
			if err != nil {
				return err
			}
			m, err := t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData})
			if err != nil {
				return err
			}
			machines = append(machines, m)
			if k.first == "" {
				k.first = m.URL()
			}
		}
		for _, m := range machines {
			c, err := m.WaitServer(ctx)
			if err != nil {
				return err
			}
			if api == nil {
				api = c
			}
		}
		return api.WaitReady(ctx, names...)
	})
	return machines, api, err
}
