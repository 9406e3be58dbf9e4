// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	kinetls "github.com/k3s-io/kine/pkg/tls"
)

// kineDatabase is the name of the database of an endpoint that names none, kine's.
const kineDatabase = "kubernetes"

// shared is a database of PostgreSQL's or MySQL's, as it is without kine.
type shared struct {
	*sql.DB
	kind string
}

// openShared connects to the database of an endpoint as kine 0.17.5 does. Its errors don't quote the endpoint.
func openShared(opts Options) (*shared, error) {
	kind := Kind(opts.Endpoint)
	switch kind {
	case "postgres":
		config, err := postgresConfig(opts)
		if err != nil {
			return nil, err
		}
		return &shared{stdlib.OpenDB(*config), kind}, nil
	case "mysql":
		config, err := mysql.ParseDSN(strings.TrimPrefix(opts.Endpoint, "mysql://"))
		if err != nil {
			return nil, errors.New("datastore-endpoint: it isn't as MySQL's are: user:password@tcp(host:3306)/database")
		}
		config.DBName = cmp.Or(config.DBName, kineDatabase)
		files := kinetls.Config{CAFile: opts.CAFile, CertFile: opts.CertFile, KeyFile: opts.KeyFile}
		if config.TLS, err = files.ClientConfig(); err != nil {
			return nil, fmt.Errorf("datastore's TLS files: %w", err)
		}
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, fmt.Errorf("connect to the database: %w", err)
		}
		return &shared{sql.OpenDB(connector), kind}, nil
	}
	return nil, fmt.Errorf("a datastore of kind %q is no shared SQL database", kind)
}

func postgresConfig(opts Options) (*pgx.ConnConfig, error) {
	wrong := errors.New("datastore-endpoint: it isn't as PostgreSQL's are: postgres://user:password@host:5432/database, " +
		"special characters of the password percent-encoded")
	u, err := url.Parse(opts.Endpoint)
	if err != nil {
		return nil, wrong
	}
	u.Path = strings.ToLower(u.Path) // names that aren't quoted are
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/" + kineDatabase
	}
	query := u.Query()
	for name, file := range map[string]string{"sslrootcert": opts.CAFile, "sslcert": opts.CertFile, "sslkey": opts.KeyFile} {
		if file == "" {
			continue
		}
		if !query.Has(name) {
			query.Set(name, file)
		}
		if !query.Has("sslmode") {
			query.Set("sslmode", "verify-full")
		}
	}
	u.RawQuery = query.Encode()
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, wrong
	}
	return config, nil
}

// advance is as advanceSQLite.
func (s *shared) advance(ctx context.Context, revision int64) error {
	statements := []string{
		`DELETE FROM kine WHERE name <> 'compact_rev_key' AND id NOT IN (SELECT id FROM (SELECT MAX(id) AS id FROM kine GROUP BY name) AS newest)`,
		`DELETE FROM kine WHERE deleted <> 0`,
		fmt.Sprintf(`UPDATE kine SET prev_revision = %d WHERE name = 'compact_rev_key'`, revision),
		fmt.Sprintf(`INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
			VALUES (%[1]d, 'gap-%[1]d', 0, 1, 0, 0, 0, NULL, NULL)`, revision),
	}
	if s.kind == "postgres" { // the others count on from the greatest by themselves
		statements = append(statements, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence('kine', 'id'), %d)`, revision))
	}
	tx, err := s.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // committed, or the error is returned
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}
