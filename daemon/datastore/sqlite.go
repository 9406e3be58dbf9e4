// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver that kine links, too

	"github.com/skerry-os/skerry/daemon/datastore/files"
)

// sqliteScheme begins an endpoint that names a file of SQLite's.
const sqliteScheme = "sqlite://"

// sqliteCompanions are the endings of the files that SQLite keeps beside a database. With another database they would
// damage it.
var sqliteCompanions = []string{"-wal", "-shm", "-journal"}

// sqliteFile returns the database of an endpoint, which is empty for the one in dir.
func sqliteFile(endpoint, dir string) (string, error) {
	if endpoint == "" {
		return filepath.Join(dir, files.Database), nil
	}
	file, _, _ := strings.Cut(strings.TrimPrefix(endpoint, sqliteScheme), "?")
	if file == "" {
		return "", errors.New("datastore-endpoint: it names no file; write sqlite:///var/lib/… or leave the key out")
	}
	return filepath.Abs(file) // as kine takes it
}

// openSQLite opens a database beside whoever else has it open. mode is SQLite's: ro or rw.
func openSQLite(file, mode string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: file, RawQuery: "mode=" + mode + "&_pragma=busy_timeout(30000)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// backupSQLite copies a database as it is at one moment. It may be written to meanwhile, and what was deleted from it is
// not in the copy.
func backupSQLite(ctx context.Context, file, to string) error {
	db, err := openSQLite(file, "ro")
	if err != nil {
		return err
	}
	defer db.Close()
	// SQLite takes an empty file, and keeps its mode.
	empty, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := empty.Close(); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("copy %s: %w", file, err)
	}
	return nil
}

// checkSQLite looks whether a database is whole and is kine's.
func checkSQLite(ctx context.Context, file string) error {
	db, err := openSQLite(file, "ro")
	if err != nil {
		return err
	}
	defer db.Close()
	var problem string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&problem); err != nil {
		return fmt.Errorf("check the database: %w", err)
	}
	if problem != "ok" {
		return fmt.Errorf("check the database: %s", problem)
	}
	_, err = revisionSQLite(ctx, db)
	return err
}

func revisionSQLite(ctx context.Context, db *sql.DB) (int64, error) {
	var revision sql.NullInt64
	if err := db.QueryRowContext(ctx, "SELECT MAX(id) FROM kine").Scan(&revision); err != nil {
		return 0, fmt.Errorf("read the database's revision: %w", err)
	}
	return revision.Int64, nil
}

// rangeSQLite returns the current values of the keys that begin with a prefix.
func rangeSQLite(ctx context.Context, file, prefix string) (map[string][]byte, error) {
	db, err := openSQLite(file, "ro")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `
		SELECT name, value FROM kine
		WHERE deleted = 0 AND substr(name, 1, length(?1)) = ?1 AND id IN (SELECT MAX(id) FROM kine GROUP BY name)`, prefix)
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	defer rows.Close()
	values := map[string][]byte{}
	for rows.Next() {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("read the database: %w", err)
		}
		values[name] = value
	}
	return values, rows.Err()
}

// advanceSQLite forgets what was before the present state, and makes revision the present one.
//
// The row of the new revision is one that kine writes itself where a number was lost; it removes it in time.
func advanceSQLite(ctx context.Context, file string, revision int64) error {
	db, err := openSQLite(file, "rw")
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("advance the database's revision: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // committed, or the error is returned
	gap := fmt.Sprintf("gap-%d", revision)
	for _, statement := range []struct {
		text string
		args []any
	}{
		{"DELETE FROM kine WHERE name != 'compact_rev_key' AND id NOT IN (SELECT MAX(id) FROM kine GROUP BY name)", nil},
		{"DELETE FROM kine WHERE deleted != 0", nil},
		{"UPDATE kine SET prev_revision = ? WHERE name = 'compact_rev_key'", []any{revision}},
		{`INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
			VALUES (?, ?, 0, 1, 0, 0, 0, NULL, NULL)`, []any{revision, gap}},
	} {
		if _, err := tx.ExecContext(ctx, statement.text, statement.args...); err != nil {
			return fmt.Errorf("advance the database's revision: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("advance the database's revision: %w", err)
	}
	return nil
}
