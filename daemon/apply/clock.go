// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
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
	// hardwareClockFile has the time of the machine's first real-time clock, in
	// seconds since 1970 (Documentation/ABI/testing/sysfs-class-rtc of Linux).
	hardwareClockFile = "/sys/class/rtc/rtc0/since_epoch"
	// hardwareClockSlack is more than the hours of a time zone, for a hardware
	// clock that has local time.
	hardwareClockSlack = 24 * time.Hour
)

// waitsForSync is for the journal, the console and the status of the service.
const waitsForSync = "waiting until time servers have set the clock"

// Clock waits for a clock that can be right, as the configuration has it. built
// is when the image was built: before that, no certificate of the cluster would
// be valid for anybody else. A clock that is still wrong then is set to that
// day, for a machine may be offline for ever.
//
// The system's clock alone doesn't tell: before anybody can look, systemd has
// set one that is too early, or years too late, to the day of its own release
// or to when the machine was last seen running. That it isn't what the hardware
// shows does. tell gets a line when the wait begins.
func Clock(ctx context.Context, m *Machine, loaded *config.Loaded, built time.Time, tell func(string)) error {
	limit, forever, given := loaded.Config.Skerry.Time.WaitForSync.Limit()
	if !given {
		limit = defaultSyncWait
	}
	lost := m.hardwareClockIsLost()
	said := false
	// The clock itself may jump: what was waited is counted.
	for waited := time.Duration(0); ; waited += syncPoll {
		possible := !m.System.Now().Before(built)
		synced, err := m.synced()
		if err != nil {
			return err
		}
		if possible && (synced || !given && !lost) {
			return nil
		}
		if !forever && waited >= limit {
			return m.goOn(built, possible, lost)
		}
		if !said {
			m.Log.Info(waitsForSync, "clock", m.System.Now().UTC().Format(time.DateTime))
			tell(waitsForSync)
			said = true
		}
		if err := m.System.Sleep(ctx, syncPoll); err != nil {
			return err
		}
	}
}

func (m *Machine) goOn(built time.Time, possible, lost bool) error {
	clock := m.System.Now().UTC().Format(time.DateTime)
	switch {
	case possible && lost:
		m.Log.Warn("no time server has answered, and the hardware's clock can't be right; going on with a clock that is behind: set the hardware's, or name servers in reach in ntp.servers",
			"clock", clock)
		return nil
	case possible:
		return nil
	}
	m.Log.Warn("no time server has answered, and the clock is before the day this image was built; it is set to that day",
		"clock", clock, "set", built.UTC().Format(time.DateTime))
	if err := m.System.SetClock(built); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// hardwareClockIsLost says that the machine has a clock of its own, and that
// systemd didn't believe it: its battery is empty, or it has none. A machine
// without such a clock, as some virtual ones, has the time of its host.
func (m *Machine) hardwareClockIsLost() bool {
	data, err := os.ReadFile(m.path(hardwareClockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		return true // the kernel has found the time in it invalid
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return err != nil || m.System.Now().Sub(time.Unix(seconds, 0)).Abs() > hardwareClockSlack
}

func (m *Machine) synced() (bool, error) {
	_, err := os.Stat(m.path(syncedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("ask whether the clock is set: %w", err)
	}
	return err == nil, nil
}
