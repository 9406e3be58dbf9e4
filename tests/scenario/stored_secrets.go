// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	_ "modernc.org/sqlite" // to read the datastore of a server

	"github.com/skerry-os/skerry/tests/vm"
)

// secretsPrefix is where the datastore has Secrets.
const secretsPrefix = "/registry/secrets/"

// storedSecret is what the datastore has of a Secret: its value, and the one before, which kine keeps with it.
type storedSecret struct {
	name            string
	value, previous []byte
}

// storedSecrets reads a datastore behind kine.
func storedSecrets(ctx context.Context, db *sql.DB) ([]storedSecret, error) {
	rows, err := db.QueryContext(ctx, "SELECT name, value, old_value FROM kine AS k WHERE name LIKE '"+secretsPrefix+
		"%' AND deleted = 0 AND id = (SELECT MAX(id) FROM kine WHERE name = k.name)")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []storedSecret
	for rows.Next() {
		var s storedSecret
		if err := rows.Scan(&s.name, &s.value, &s.previous); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// storedInSQLite stops the control plane, reads its datastore, and starts it again.
func storedInSQLite(ctx context.Context, t *T, m *vm.Machine) ([]storedSecret, error) {
	const db = "/var/lib/rancher/k3s/server/db/state.db"
	out, err := m.Run(ctx, "sudo systemctl stop skerry-control.service && sudo base64 "+db+" && sudo systemctl start skerry-control.service")
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(out, "\n", ""))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(filepath.Dir(t.lab.KeyFile()), m.Name()+"-state.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	opened, err := sql.Open("sqlite", file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	all, err := storedSecrets(ctx, opened)
	if err != nil {
		return nil, err
	}
	_, err = m.WaitServer(ctx)
	return all, err
}

// writtenWith checks that at least least Secrets are stored, and each with the key, or plain if that is empty, and that none
// is kept beside it that was written otherwise.
func writtenWith(all []storedSecret, key string, least int) error {
	if len(all) < least {
		return fmt.Errorf("%d Secrets are stored, want at least %d", len(all), least)
	}
	is := func(value []byte) bool {
		if key == "" {
			return !bytes.HasPrefix(value, []byte("k8s:enc:"))
		}
		return bytes.HasPrefix(value, []byte("k8s:enc:secretbox:v1:"+key+":"))
	}
	var errs []error
	for _, s := range all {
		if !is(s.value) {
			errs = append(errs, fmt.Errorf("%s is stored as %.45q", s.name, s.value))
		}
		if len(s.previous) > 0 && !is(s.previous) {
			errs = append(errs, fmt.Errorf("beside %s is kept what was before, %.45q", s.name, s.previous))
		}
	}
	if len(errs) > maxFindings {
		errs = append(errs[:maxFindings], fmt.Errorf("and %d more", len(errs)-maxFindings))
	}
	return errors.Join(errs...)
}

// encryptionStatus is what `skerry secrets-encrypt status -o json` says.
type encryptionStatus struct {
	Stage, ActiveKey, HashError, Problem string
	InactiveKeys                         []string
	Enable, Finished, HashMatch          bool
	Done, Total                          int
}

func secretsStatus(ctx context.Context, m *vm.Machine) (encryptionStatus, error) {
	var s encryptionStatus
	out, err := m.Run(ctx, "sudo skerry secrets-encrypt status -o json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// waitSecrets waits until no change of keys is under way.
func waitSecrets(ctx context.Context, m *vm.Machine) (encryptionStatus, error) {
	var s encryptionStatus
	err := vm.Wait(ctx, "the change of keys to finish", 5*time.Minute, func(ctx context.Context) error {
		var err error
		if s, err = secretsStatus(ctx, m); err != nil {
			return err
		}
		if !s.Finished || !s.HashMatch || s.Problem != "" || len(s.InactiveKeys) > 0 {
			return fmt.Errorf("it says %+v", s)
		}
		return nil
	})
	return s, err
}

// vault is a number of Secrets whose values are known.
type vault struct {
	namespace string
	size      int
}

func (v vault) value(i int) string { return fmt.Sprintf("value of %d in %s", i, v.namespace) }

func (v vault) fill(ctx context.Context, cluster *vm.Cluster) error {
	if err := cluster.Namespace(ctx, v.namespace); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range v.size {
		group.Go(func() error {
			_, err := cluster.CoreV1().Secrets(v.namespace).Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("secret-%05d", i)},
				StringData: map[string]string{"value": v.value(i)},
			}, metav1.CreateOptions{})
			return err
		})
	}
	return group.Wait()
}

// holds checks that every Secret is read as it was written.
func (v vault) holds(ctx context.Context, cluster *vm.Cluster) error {
	// Of version 0, kube-apiserver would answer from its memory.
	list, err := cluster.CoreV1().Secrets(v.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	has := map[string]string{}
	for _, secret := range list.Items {
		has[secret.Name] = string(secret.Data["value"])
	}
	for i := range v.size {
		if name := fmt.Sprintf("secret-%05d", i); has[name] != v.value(i) {
			return fmt.Errorf("secret %s has %q, want %q", name, has[name], v.value(i))
		}
	}
	return nil
}
