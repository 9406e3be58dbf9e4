// SPDX-License-Identifier: Apache-2.0

package database

import (
	"database/sql"
	"fmt"

	_ "github.com/jackc/pgx/v5/stdlib" // PostgreSQL's driver
)

// Open returns the database itself, for what no server of a cluster shows. Only PostgreSQL's can be opened.
func (s *Server) Open() (*sql.DB, error) {
	if s.Kind != Postgres {
		return nil, fmt.Errorf("a %s is not opened", s.Kind)
	}
	return sql.Open("pgx", fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=require", User, Password, s.Address, Name))
}
