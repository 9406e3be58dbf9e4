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

	"github.com/google/renameio/v2"

	"github.com/skerry-os/skerry/daemon/config"
)

const (
	timesyncUnit = "systemd-timesyncd.service"
	timesyncFile = "/etc/systemd/timesyncd.conf.d/60-skerry-cloud-config.conf"

	// timesyncStopped is there once this boot has stopped the unit.
	timesyncStopped = bootDir + "/timesync-stopped"

	zoneDir       = "/usr/share/zoneinfo"
	localtimeFile = "/etc/localtime"
	timezoneFile  = "/etc/timezone"
	// defaultZone is the image's own.
	defaultZone = "Etc/UTC"
)

// ntp tells systemd-timesyncd which servers to ask. It has been started before
// the configuration was read, so it is restarted when there is something new.
func ntp(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	wanted := loaded.Config.NTP
	if wanted != nil && wanted.Off() {
		if err := errors.Join(m.remove(timesyncFile), m.remember(timesyncStopped, "stopped")); err != nil {
			return err
		}
		_, err := m.System.Run(ctx, systemctl, "stop", "--no-block", timesyncUnit)
		return err
	}
	var text []byte
	if wanted != nil && len(wanted.Servers)+len(wanted.Pools) > 0 {
		servers := append(append([]string{}, wanted.Servers...), wanted.Pools...)
		text = []byte("[Time]\nNTP=" + strings.Join(servers, " ") + "\n")
	}
	old, err := os.ReadFile(m.path(timesyncFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", timesyncFile, err)
	}
	_, stopped, err := m.remembered(timesyncStopped)
	if err != nil || bytes.Equal(old, text) && !stopped {
		return err
	}
	if text == nil {
		err = m.remove(timesyncFile)
	} else {
		err = m.write(timesyncFile, text, 0o644, byRoot)
	}
	if err != nil {
		return err
	}
	if _, err := m.System.Run(ctx, systemctl, "restart", "--no-block", timesyncUnit); err != nil {
		return err
	}
	return m.remove(timesyncStopped)
}

// timezone sets the zone that local time is shown in.
func timezone(_ context.Context, m *Machine, loaded *config.Loaded) error {
	zone := loaded.Config.Timezone
	if zone == "" {
		zone = defaultZone
	}
	info, err := os.Stat(m.path(zoneDir + "/" + zone))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("timezone: there is no time zone %s", zone)
	}
	if err != nil {
		return fmt.Errorf("timezone %s: %w", zone, err)
	}
	if err := m.write(timezoneFile, []byte(zone+"\n"), 0o644, byRoot); err != nil {
		return err
	}
	target := ".." + zoneDir + "/" + zone
	if old, err := os.Readlink(m.path(localtimeFile)); err == nil && old == target {
		return nil
	}
	if err := renameio.Symlink(target, m.path(localtimeFile)); err != nil {
		return fmt.Errorf("set timezone %s: %w", zone, err)
	}
	return nil
}
