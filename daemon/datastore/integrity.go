// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
)

// sqliteOptions are kine's own defaults for SQLite, but for the durability:
// with synchronous=FULL every acknowledged write is on the disk before
// kube-apiserver hears of it, so a power cut loses nothing that was promised.
// With kine's NORMAL the last commits before a power cut may be rolled back.
//
// SQLite merges its write-ahead log into the database at each thousandth page, but a reader that is slow holds that up
// while writes go on; journal_size_limit then gives the space back, which else stays the log's.
const sqliteOptions = "?_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate&_stmt_cache_size=20&cache=shared" +
	"&_pragma=journal_size_limit(16777216)"

// checkTimeout bounds the look over the database before it is opened: a start doesn't wait for a large one on a slow disk.
const checkTimeout = time.Minute

// DamagedError says that SQLite's database can't be used.
type DamagedError struct {
	File string // absolute
	Why  string // SQLite's words
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the datastore %s is damaged, and kube-apiserver is not started on it. "+
		"Look at the disk (journalctl -k), move that file and those beside it with its name (-wal, -shm) away, and put a backup in its place, "+
		"or start a new cluster without one. SQLite says: %s", e.File, e.Why)
}

// checkAtStart looks whether a database is whole, as far as there is time. One that isn't there is.
func checkAtStart(ctx context.Context, file string, log *slog.Logger) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the datastore: %w", err)
	}
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(30000)")
	if err != nil {
		return fmt.Errorf("look at the datastore: %w", err)
	}
	defer db.Close()
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found, err := quickCheck(ctx, db)
	took := time.Since(started).Round(time.Millisecond)
	switch {
	case ctx.Err() != nil:
		log.Warn("the datastore is too large to be checked at each start, and is used unchecked", "size", info.Size(), "took", took)
	case err != nil && cantBeRead(err):
		return &DamagedError{File: file, Why: err.Error()}
	case err != nil:
		return fmt.Errorf("look at the datastore %s: %w", file, err)
	case found != "ok":
		return &DamagedError{File: file, Why: found}
	default:
		log.Info("the datastore is whole", "size", info.Size(), "took", took)
	}
	return nil
}

// quickCheck returns "ok", or what is wrong first.
func quickCheck(ctx context.Context, db *sql.DB) (string, error) {
	var found string
	err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	return found, err
}

// mergeLog merges the write-ahead log into the database, so that the file alone is the whole: kine 0.17.5 leaves a connection
// open when it closes, and SQLite merges when the last is closed.
func mergeLog(file string) error {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	var busy, pages, merged int
	err = db.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &merged)
	if err == nil && busy != 0 {
		err = errors.New("somebody still reads it")
	}
	return errors.Join(err, db.Close())
}

// cantBeRead says whether SQLite found the file damaged before it could look: SQLITE_CORRUPT and SQLITE_NOTADB.
func cantBeRead(err error) bool {
	for _, words := range []string{"malformed", "file is not a database"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}
