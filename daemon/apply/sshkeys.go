// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/skerry-os/skerry/daemon/config"
)

const (
	// authorizedKeysDir is where sshd looks for the keys of a user, in a file
	// named after him. A key that has left the configuration is gone from it,
	// unlike from a file in a home.
	authorizedKeysDir = "/etc/ssh/authorized_keys.d"
	// sshdFile comes before the image's own: the first value sshd reads counts.
	sshdFile = "/etc/ssh/sshd_config.d/00-skerry-cloud-config.conf"
	sshdUnit = "ssh.service"
)

// sshKeys renders who may log in with which key, and whether passwords do.
func sshKeys(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	current := map[string]bool{}
	for _, user := range loaded.Config.AllUsers() {
		var keys strings.Builder
		for _, key := range user.SSHAuthorizedKeys {
			keys.WriteString(string(key) + "\n")
		}
		for _, id := range user.SSHImportID {
			imported, err := m.imported(id)
			if err != nil {
				return err
			}
			keys.WriteString(imported)
		}
		if keys.Len() == 0 {
			continue
		}
		current[user.Name] = true
		// sshd reads the file as the user: everybody may.
		if err := m.write(authorizedKeysDir+"/"+user.Name, []byte(keys.String()), 0o644, byRoot); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(m.path(authorizedKeysDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("authorized keys: %w", err)
	}
	for _, entry := range entries {
		if !current[entry.Name()] {
			if err := m.remove(authorizedKeysDir + "/" + entry.Name()); err != nil {
				return err
			}
		}
	}
	return m.passwordLogin(ctx, loaded.Config.SSHPasswordAuth)
}

// passwordLogin has sshd read its configuration again when it has changed: it may
// have been started before.
func (m *Machine) passwordLogin(ctx context.Context, allowed *bool) error {
	var text []byte
	if allowed != nil && *allowed {
		text = []byte("PasswordAuthentication yes\n")
	} else if allowed != nil {
		text = []byte("PasswordAuthentication no\n")
	}
	old, err := os.ReadFile(m.path(sshdFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", sshdFile, err)
	}
	if bytes.Equal(old, text) {
		return nil
	}
	if text == nil {
		err = m.remove(sshdFile)
	} else {
		err = m.write(sshdFile, text, 0o644, byRoot)
	}
	if err != nil {
		return err
	}
	_, err = m.System.Run(ctx, systemctl, "try-reload-or-restart", "--no-block", sshdUnit)
	return err
}
