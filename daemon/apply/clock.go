// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/skerry-os/skerry/daemon/config"
)

const (
	// syncedFile is there once systemd-timesyncd has set the clock.
	syncedFile = "/run/systemd/timesync/synchronized"
	// defaultSyncWait is how long a machine whose clock can't be right waits when
	// the configuration doesn't say.
	defaultSyncWait = 60 * time.Second
	syncPoll        = 250 * time.Millisecond
)

// Clock waits for a clock that can be right, as the configuration has it. built
// is when the image was built: before that, no certificate of the cluster would
// be valid for anybody else. A clock that is still wrong then is set to that
// day, for a machine may be offline for ever.
func Clock(ctx context.Context, m *Machine, loaded *config.Loaded, built time.Time) error {
	limit, forever, given := loaded.Config.Skerry.Time.WaitForSync.Limit()
	if !given {
		limit = defaultSyncWait
	}
	said := false
	// The clock itself may jump: what was waited is counted.
	for waited := time.Duration(0); ; waited += syncPoll {
		plausible := !m.System.Now().Before(built)
		synced, err := m.synced()
		if err != nil {
			return err
		}
		if plausible && (synced || !given) {
			return nil
		}
		if !forever && waited >= limit {
			return m.goOn(built, plausible)
		}
		if !said {
			m.Log.Info("waiting until time servers have set the clock", "clock", m.System.Now().UTC().Format(time.DateTime))
			said = true
		}
		if err := m.System.Sleep(ctx, syncPoll); err != nil {
			return err
		}
	}
}

func (m *Machine) goOn(built time.Time, plausible bool) error {
	if plausible {
		return nil
	}
	m.Log.Warn("no time server has answered, and the clock is before the day this image was built; it is set to that day",
		"clock", m.System.Now().UTC().Format(time.DateTime), "set", built.UTC().Format(time.DateTime))
	if err := m.System.SetClock(built); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

func (m *Machine) synced() (bool, error) {
	_, err := os.Stat(m.path(syncedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("ask whether the clock is set: %w", err)
	}
	return err == nil, nil
}
