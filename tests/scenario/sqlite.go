// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // looks into databases of machines

	"github.com/skerry-os/skerry/tests/vm"
)

// wholeAfterwards checks a server that was interrupted: its database is whole, and no file of Skerry's is left half
// written. The control plane is restarted.
func wholeAfterwards(ctx context.Context, t *T, m *vm.Machine) error {
	return t.Steps(
		step{"the database is whole", func() error { return wholeDatabase(ctx, t, m) }},
		step{"no file is half written", func() error { return nothingUnfinished(ctx, m) }},
	)
}

// wholeDatabase has SQLite look at all of a server's database, which is stopped for it.
func wholeDatabase(ctx context.Context, t *T, m *vm.Machine) error {
	if _, err := m.Run(ctx, "sudo systemctl stop skerry-control.service"); err != nil {
		return err
	}
	out, err := m.Run(ctx, "sudo base64 --wrap=0 /var/lib/rancher/k3s/server/db/state.db")
	if err != nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(out))
	if err != nil {
		return err
	}
	file := filepath.Join(m.Dir(), "state.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return err
	}
	defer db.Close()
	var found string
	var rows int
	if err := errors.Join(
		db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&found),
		db.QueryRowContext(ctx, "SELECT count(*) FROM kine").Scan(&rows),
	); err != nil {
		return err
	}
	if found != "ok" || rows == 0 {
		return fmt.Errorf("SQLite says of %d bytes with %d rows: %s", len(data), rows, found)
	}
	t.Note("%d MiB with %d rows are whole", len(data)>>20, rows)
	if _, err := m.Run(ctx, "sudo systemctl start skerry-control.service"); err != nil {
		return err
	}
	_, err = m.WaitServer(ctx)
	return err
}

// nothingUnfinished restarts a server's processes a minute after the last interruption, and looks for what writes have left:
// files that never took their place, which have a dot, the name of their place and a random number.
func nothingUnfinished(ctx context.Context, m *vm.Machine) error {
	const look = `sudo find /etc/rancher /var/lib/rancher/k3s/server /var/lib/rancher/k3s/agent/etc -xdev -type f -regex '.*/\..*[0-9]\{10,19\}'`
	out, err := m.Run(ctx, look+" -mmin -2 | wc -l")
	if err != nil {
		return err
	}
	if strings.TrimSpace(out) != "0" {
		// What is younger than a minute could be another process's that is about to be put in its place.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute):
		}
	}
	if _, err := m.Run(ctx, "sudo systemctl restart skerry-control.service skerry-node.service"); err != nil {
		return err
	}
	if _, err := m.WaitServer(ctx); err != nil {
		return err
	}
	if out, err = m.Run(ctx, look); err != nil {
		return err
	}
	if out = strings.TrimSpace(out); out != "" {
		return fmt.Errorf("half written: %s", out)
	}
	return nil
}
