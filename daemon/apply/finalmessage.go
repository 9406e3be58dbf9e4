// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/version"
)

// finalMessage says what the configuration wants said at the end of each boot,
// on the console and in the journal.
func finalMessage(_ context.Context, m *Machine, loaded *config.Loaded) error {
	message := loaded.Config.FinalMessage
	if message == "" {
		return nil
	}
	uptime, err := m.uptime()
	if err != nil {
		return err
	}
	source := "none"
	if loaded.Document != nil {
		source = loaded.Document.Source
	}
	text := message.Expand(map[string]string{
		"uptime":     uptime,
		"timestamp":  m.System.Now().UTC().Format(time.RFC1123Z),
		"version":    version.Skerry,
		"datasource": source,
	})
	for line := range strings.Lines(text) {
		m.Log.Info(strings.TrimRight(line, "\r\n"))
	}
	return nil
}

// uptime returns the seconds since the kernel has started.
func (m *Machine) uptime() (string, error) {
	data, err := os.ReadFile(m.path("/proc/uptime"))
	if err != nil {
		return "", fmt.Errorf("read the uptime: %w", err)
	}
	seconds, _, _ := strings.Cut(string(data), " ")
	return seconds, nil
}
