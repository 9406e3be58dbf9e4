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

// startDatabase starts a database and makes it known to the machines of the lab.
func (t *T) startDatabase(ctx context.Context, kind database.Kind) (*database.Server, error) {
	var server *database.Server
	err := t.Step("start "+string(kind), func() (err error) {
		log := filepath.Join(filepath.Dir(t.lab.KeyFile()), string(kind)+".log")
		if server, err = database.Start(ctx, kind, log, databaseName); err != nil {
			return err
		}
		_, err = t.lab.Expose(databaseAddress, server.Port(), server.Address, databaseName)
		return err
	})
	return server, err
}

// storedConfig is examples/server.yaml for a server that keeps its cluster in a database; nil is its own SQLite. Arguments of kube-apiserver are as name=value.
func (t *T) storedConfig(db *database.Server, hostname string, cluster map[string]string, apiserver ...string) ([]byte, error) {
	o := vm.Overrides{
		Hostname: hostname, AuthorizedKey: t.lab.AuthorizedKey(),
		Cluster:       map[string]string{"token": clusterToken},
		APIServerArgs: apiserver,
		Files:         map[string]string{},
	}
	if db != nil {
		o.Cluster["datastore-endpoint"] = db.Endpoint(databaseName)
		o.Cluster["datastore-cafile"] = "/etc/rancher/k3s/datastore-ca.crt"
		o.Files["/etc/rancher/k3s/datastore-ca.crt"] = string(db.CA)
		if db.Kind == database.Etcd {
			o.Cluster["datastore-certfile"] = "/etc/rancher/k3s/datastore.crt"
			o.Cluster["datastore-keyfile"] = "/etc/rancher/k3s/datastore.key"
			o.Files["/etc/rancher/k3s/datastore.crt"] = string(db.Cert)
			o.Files["/etc/rancher/k3s/datastore.key"] = string(db.Key)
		}
	}
	for key, value := range cluster {
		o.Cluster[key] = value
	}
	return t.exampleConfig("server.yaml", o)
}

// servers boots servers of one cluster at once.
func (t *T) servers(ctx context.Context, db *database.Server, cluster map[string]string, names ...string) ([]*vm.Machine, *vm.Cluster, error) {
	var machines []*vm.Machine
	var api *vm.Cluster
	err := t.Step(fmt.Sprintf("boot %d servers at once", len(names)), func() error {
		for _, name := range names {
			userData, err := t.storedConfig(db, name, cluster)
			if err != nil {
				return err
			}
			m, err := t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData})
			if err != nil {
				return err
			}
			machines = append(machines, m)
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
