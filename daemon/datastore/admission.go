// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// admissionPatience is how long kine waits for a database.
	admissionPatience = 5 * time.Minute
	admissionPause    = time.Second
	// cannotConnectNow is the SQLSTATE of a PostgreSQL that starts, ends or recovers.
	cannotConnectNow = "57P03"
)

// awaitAdmission waits until a PostgreSQL lets clients in, or says why it never will.
//
// kine 0.17.5 tries once to make the database, before it waits for the server: with one that was down just then it waits its
// five minutes for a database which nobody makes.
func awaitAdmission(ctx context.Context, opts Options) error {
	config, err := postgresConfig(opts)
	if err != nil {
		return err
	}
	config.Database = "postgres" // from which kine makes it
	ctx, cancel := context.WithTimeout(ctx, admissionPatience)
	defer cancel()
	for said := false; ; said = true {
		err := admitted(ctx, config)
		if err == nil {
			return nil
		}
		if !said {
			opts.Log.Info("waiting for the database", "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the database: %w", err)
		case <-time.After(admissionPause):
		}
	}
}

// admitted returns nil if the server has answered, be it with a refusal: who may not enter this database may enter kine's.
func admitted(ctx context.Context, config *pgx.ConnConfig) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err == nil {
		return conn.Close(ctx)
	}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && answer.Code != cannotConnectNow {
		return nil
	}
	return err
}
