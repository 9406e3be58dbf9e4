// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/boot"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/install"
	"github.com/skerry-os/skerry/daemon/live"
	"github.com/skerry-os/skerry/daemon/notify"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/storage"
	"github.com/skerry-os/skerry/daemon/unit"
	"github.com/skerry-os/skerry/daemon/upgrade"
	"github.com/skerry-os/skerry/daemon/version"
)

// commandLine is the kernel's.
const commandLine = "/proc/cmdline"

func daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "daemon",
		Short: "Bring this machine to what its cloud-config says (systemd runs this)",
		Long: `Read the cloud-config, apply it, choose server or agent, start Kubernetes through
systemd, and watch over it. systemd runs this as skerry.service; it needs root and
systemd.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(newLineHandler(cmd.OutOrStdout()))
			notifier, err := notify.Take()
			if err != nil {
				return command.Failed(err)
			}
			units, err := dbus.NewSystemConnectionContext(cmd.Context())
			if err != nil {
				return command.Failed(fmt.Errorf("connect to systemd: %w", err))
			}
			defer units.Close()
			b := &boot.Boot{
				Units:        units,
				Notifier:     notifier,
				Sources:      func() (*source.Set, error) { return source.Default(log) },
				Around:       config.Here(log),
				Machine:      apply.NewMachine(log),
				StateDir:     identity.StateDir,
				Reboot:       func(ctx context.Context) error { return unit.Reboot(ctx, units) },
				StatusSocket: status.Socket,
				Storage:      storage.Here(),
				Upgrades:     &upgrade.Upgrader{Log: log, Now: time.Now},
				ConfigFile:   config.RunningFile,
				Log:          log,
			}
			b.Machine.Extensions.Versions = b.Upgrades.Slots.Versions
			medium, isLive, err := live.Here(commandLine)
			if err != nil {
				return command.Failed(err)
			}
			if isLive {
				i := install.New(medium, version.Skerry, tellLog(log), log)
				b.Live = &boot.Live{Disks: i.Disks, Install: i.Install,
					PowerOff: func(ctx context.Context) error { return unit.PowerOff(ctx, units) }}
			}
			return command.Failed(b.Run(cmd.Context()))
		},
	}
}
