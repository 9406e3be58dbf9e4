// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/datastore"
)

// Names of the kinds of stores, for people: a record has them.
var names = map[string]string{
	"sqlite": "SQLite", datastore.EmbeddedEtcd: "an embedded etcd", "postgres": "PostgreSQL", "mysql": "MySQL or MariaDB",
	"etcd": "an etcd elsewhere", "nats": "NATS JetStream",
}

// Name of a kind for people.
func Name(kind string) string {
	if name, ok := names[kind]; ok {
		return name
	}
	return kind
}

// MovedError says that a cluster is in another datastore than the one that a control plane was to start on.
type MovedError struct {
	To string // kind
	At time.Time
	// Server is whether this server's own migration is meant.
	Server bool
}

func (e *MovedError) Error() string {
	text := fmt.Sprintf("this server's datastore was moved to %s at %s: ", Name(e.To), e.At.Format(time.RFC3339))
	if !e.Server {
		text = fmt.Sprintf("this datastore's cluster was moved to %s at %s: ", Name(e.To), e.At.Format(time.RFC3339))
	}
	return text + Setting(e.To) + ", or, if it wasn't started there yet, run skerry datastore migrate --undo; nothing was changed"
}

// Setting says what leads a server to a kind of store, in the words of a cloud-config.
func Setting(kind string) string {
	switch kind {
	case "sqlite":
		return "remove skerry.cluster.datastore-endpoint and skerry.cluster.cluster-init"
	case datastore.EmbeddedEtcd:
		return "remove skerry.cluster.datastore-endpoint and set skerry.cluster.cluster-init"
	}
	return "set skerry.cluster.datastore-endpoint to that one's"
}

// Allow is called before a control plane opens or makes a store of a kind: MovedError where a migration has put the cluster
// into one of another kind. The caller holds the server directory's lock.
func Allow(server, kind string) error {
	record, err := ReadRecord(server)
	if err != nil || record == nil || record.To == kind {
		return err
	}
	return &MovedError{To: record.To, At: record.At, Server: true}
}

// Enter is called when a control plane has opened its store, before it writes: an error where that isn't the cluster's, but
// one that a migration has left, or not finished, or one of the same kind elsewhere.
func Enter(ctx context.Context, server string, client *etcdkube.Client) error {
	record, err := ReadRecord(server)
	if err != nil {
		return err
	}
	m, err := readMarker(ctx, client)
	if err != nil {
		return err
	}
	if err := mayUse(record, m); err != nil || record == nil || record.Started {
		return err
	}
	record.Started = true
	return record.write(server)
}

// mayUse says whether a store with a marker is the one of the cluster of a server that has a record. Either may be nil.
func mayUse(record *Record, m *marker) error {
	switch {
	case m != nil && m.State == StateLeft:
		return &MovedError{To: m.To, At: m.At}
	case m != nil && m.State == StateCopying:
		return fmt.Errorf("this datastore is the copy of a migration from %s, begun at %s, that isn't finished: "+
			"run skerry datastore migrate again where it was begun, or start on %[1]s as before; nothing was changed", Name(m.From), m.At.Format(time.RFC3339))
	case record != nil && (m == nil || m.ID != record.ID):
		return fmt.Errorf("%w; the one that is set is another", &MovedError{To: record.To, At: record.At, Server: true})
	}
	return nil
}
