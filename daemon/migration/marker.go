// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
)

// markerKey is where a store says which part it has, or had, in a migration. It isn't copied.
const markerKey = "/skerry/migration"

// State of a store in a migration. The values are in stores.
//
//	target: (nothing) --the copy begins--> copying --source has left--> complete
//	source: (nothing or complete) --the copy is verified--> left
//
// A control plane runs only on a store that has none, or is complete: at no moment can one run on both.
type State string

// The states.
const (
	StateCopying  State = "copying"
	StateComplete State = "complete"
	StateLeft     State = "left"
)

// marker is what a store has of the last migration that it had a part in.
type marker struct {
	ID    string    `json:"id"`
	State State     `json:"state"`
	From  string    `json:"from"` // kinds
	To    string    `json:"to"`
	At    time.Time `json:"at"` // when it began
	// Before is the marker that a store had which is left.
	Before *marker `json:"before,omitempty"`

	revision int64 // of the key
}

// errMarker is for a marker that changed between two looks.
var errMarker = errors.New("another process writes to the datastore: stop every control plane that uses it")

// readMarker returns nil where there is none.
func readMarker(ctx context.Context, client *etcdkube.Client) (*marker, error) {
	answer, err := client.Get(ctx, markerKey, etcdkube.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", markerKey, err)
	}
	if answer.KV == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	m := new(marker)
	if err := json.Unmarshal(answer.KV.Value, m); err != nil {
		return nil, fmt.Errorf("read %s: %w", markerKey, err)
	}
	m.revision = answer.KV.ModRevision
	return m, nil
}

// write puts a marker in place of the one that was read, or where none is if it is new.
func (m *marker) write(ctx context.Context, client *etcdkube.Client) error {
	value, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s: %w", markerKey, err)
	}
	answer, err := client.OptimisticPut(ctx, markerKey, value, m.revision, etcdkube.PutOptions{GetOnFailure: m.revision != 0})
	if err != nil {
		return fmt.Errorf("write %s: %w", markerKey, err)
	}
	if !answer.Succeeded {
		return errMarker
	}
	m.revision = answer.Revision
	return nil
}

// seal says in a store that the cluster has left it.
func (m *marker) seal(ctx context.Context, client *etcdkube.Client) error {
	before, err := readMarker(ctx, client)
	if err != nil {
		return err
	}
	sealed := *m
	sealed.State, sealed.Before, sealed.revision = StateLeft, before, 0
	if before != nil {
		sealed.revision = before.revision
	}
	return sealed.write(ctx, client)
}

// unseal makes a store that the cluster has left the cluster's again.
func (m *marker) unseal(ctx context.Context, client *etcdkube.Client) error {
	if m.Before != nil {
		before := *m.Before
		before.revision = m.revision
		return before.write(ctx, client)
	}
	answer, err := client.OptimisticDelete(ctx, markerKey, m.revision, etcdkube.DeleteOptions{GetOnFailure: true})
	if err != nil {
		return fmt.Errorf("remove %s: %w", markerKey, err)
	}
	if !answer.Succeeded {
		return errMarker
	}
	return nil
}
