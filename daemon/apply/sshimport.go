// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// importedDir keeps what was fetched last, on STATE: a boot without network lets
// the same people in.
const importedDir = "/state/ssh-import"

// importTries bounds how often keys are asked for in one boot.
const importTries = 10

// importedFile is where the keys of a source are kept.
func importedFile(id configschema.ImportID) string {
	sum := sha256.Sum256([]byte(id))
	return importedDir + "/" + hex.EncodeToString(sum[:16]) + ".keys"
}

// imported returns the keys kept of a source, none when it was never reached.
func (m *Machine) imported(id configschema.ImportID) (string, error) {
	data, err := os.ReadFile(m.path(importedFile(id)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the keys kept of %s: %w", id, err)
	}
	return string(data), nil
}

// importIDs are all the sources of the configuration, each once.
func importIDs(loaded *config.Loaded) []configschema.ImportID {
	var ids []configschema.ImportID
	for _, user := range loaded.Config.AllUsers() {
		ids = append(ids, user.SSHImportID...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// sweepImported removes the keys of sources that have left the configuration. It
// waits until that is settled: keys that were removed for a configuration that is
// taken back could only be had over the network again.
func (m *Machine) sweepImported(loaded *config.Loaded) error {
	wanted := map[string]bool{}
	for _, id := range importIDs(loaded) {
		wanted[importedFile(id)] = true
	}
	entries, err := os.ReadDir(m.path(importedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("imported keys: %w", err)
	}
	for _, entry := range entries {
		if name := importedDir + "/" + entry.Name(); !wanted[name] {
			if err := m.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// importKeys fetches the keys of every source, keeps them, and lets their owners
// in. The kept keys of a source that can't be reached stay: who may log in must
// not depend on somebody else's server being up.
func importKeys(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	if err := m.sweepImported(loaded); err != nil {
		return err
	}
	ids := importIDs(loaded)
	var failures []error
	for _, id := range ids {
		keys, err := m.fetchKeys(ctx, loaded, id)
		if err == nil {
			err = m.write(importedFile(id), keys, 0o600, byRoot)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("ssh_import_id %s: %w; the keys of the last time are used", id, err))
		}
	}
	// Also without any to fetch: keys of an earlier configuration may have been
	// fetched since the stage ran.
	failures = append(failures, sshKeys(ctx, m, loaded))
	return errors.Join(failures...)
}

func (m *Machine) fetchKeys(ctx context.Context, loaded *config.Loaded, id configschema.ImportID) ([]byte, error) {
	client, err := m.client(loaded)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	var keys []byte
	err = m.retry(ctx, importTries, time.Second, func() error {
		body, err := get(ctx, client, id.URL())
		if err != nil {
			return err
		}
		keys, err = authorizedKeys(body)
		return err
	})
	return keys, err
}

// authorizedKeys keeps the lines of an answer that are keys. No line at all is an
// answer, too: somebody has taken all keys back. Lines without a key are none,
// but a page for people.
func authorizedKeys(body []byte) ([]byte, error) {
	var keys bytes.Buffer
	lines, found := bufio.NewScanner(bytes.NewReader(body)), 0
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		found++
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || key.Type() == ssh.InsecureKeyAlgoDSA { //nolint:staticcheck // named in order to leave it out
			continue
		}
		keys.WriteString(line + "\n")
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if found > 0 && keys.Len() == 0 {
		return nil, errors.New("the answer holds no SSH public key")
	}
	return keys.Bytes(), nil
}
