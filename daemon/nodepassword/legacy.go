// SPDX-License-Identifier: Apache-2.0

package nodepassword

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Migrate makes Secrets of the file in which servers before v1.20.2 kept the
// passwords as they are (K3s' server/cred/node-passwd), and removes it. Rows of
// nodes that the cluster doesn't have any more are dropped. It returns the nodes
// it made a Secret for.
//
// The file stays until every row is dealt with, so that Migrate may be
// interrupted and called again. A row that can't be read is an error: its node
// would lose its name to whoever asks next.
func (s *Store) Migrate(ctx context.Context, file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read node passwords of an older server: %w", err)
	}
	rows, err := parseLegacy(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; mend or remove it, and restart", file, err)
	}
	nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	known := map[string]bool{}
	for i := range nodes.Items {
		known[nodes.Items[i].Name] = true
	}
	var migrated []string
	for _, row := range rows {
		if !known[row.node] {
			continue
		}
		// One that is there is of a machine that has registered since.
		err := s.create(ctx, row.node, row.password)
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			return migrated, err
		}
		migrated = append(migrated, row.node)
	}
	return migrated, atomicfile.Remove(file)
}

type legacyRow struct{ password, node string }

// parseLegacy reads rows of password, node, node and groups, as in the token
// files of kube-apiserver.
func parseLegacy(data []byte) ([]legacyRow, error) {
	reader := csv.NewReader(bytes.NewReader(data))
	reader.FieldsPerRecord = -1
	records, err := reader.ReadAll()
	if err != nil {
		// The error names line and column, and quotes nothing.
		return nil, err
	}
	var rows []legacyRow
	for i, record := range records {
		if len(record) < 2 || record[0] == "" || record[1] == "" {
			return nil, fmt.Errorf("record %d isn't a password and a node", i+1)
		}
		rows = append(rows, legacyRow{password: record[0], node: strings.ToLower(record[1])})
	}
	return rows, nil
}
