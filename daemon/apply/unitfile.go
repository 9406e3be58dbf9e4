// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	systemctl = "/usr/bin/systemctl"
	// unitDir is gone with the boot, and its units with it.
	unitDir = "/run/systemd/system"
	// renderedMark begins the units that are rendered here, so that those which
	// have left the configuration are found.
	renderedMark = "# Rendered from the cloud-config at each boot.\n"
)

// unitFile is a unit to be rendered.
type unitFile struct{ name, text string }

// renderUnits replaces the rendered units that have one of the endings by those
// given, and has systemd read them when something has changed.
func (m *Machine) renderUnits(ctx context.Context, endings []string, units []unitFile) error {
	changed, err := m.removeUnits(endings, units)
	if err != nil {
		return err
	}
	for _, u := range units {
		path, text := unitDir+"/"+u.name, renderedMark+u.text
		if m.isRight(m.path(path), []byte(text), 0o644, byRoot) {
			continue
		}
		if err := m.write(path, []byte(text), 0o644, byRoot); err != nil {
			return err
		}
		changed = true
	}
	if !changed {
		return nil
	}
	if _, err := m.System.Run(ctx, systemctl, "daemon-reload"); err != nil {
		return fmt.Errorf("have systemd read the rendered units: %w", err)
	}
	return nil
}

func (m *Machine) removeUnits(endings []string, units []unitFile) (changed bool, err error) {
	wanted := map[string]bool{}
	for _, u := range units {
		wanted[u.name] = true
	}
	entries, err := os.ReadDir(m.path(unitDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for rendered units: %w", err)
	}
	for _, entry := range entries {
		if wanted[entry.Name()] || !entry.Type().IsRegular() || !hasEnding(entry.Name(), endings) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(m.path(unitDir), entry.Name()))
		if err != nil {
			return false, err
		}
		if !strings.HasPrefix(string(data), renderedMark) {
			continue
		}
		if err := m.remove(unitDir + "/" + entry.Name()); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

func hasEnding(name string, endings []string) bool {
	for _, ending := range endings {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return false
}

// unitValue writes a value so that systemd takes it as it is.
func unitValue(text string) string { return strings.ReplaceAll(text, "%", "%%") }
