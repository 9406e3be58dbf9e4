// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/upgrade"
)

// trialPoll is how often the daemon is asked during a trial.
const trialPoll = 2 * time.Second

// statusPatience is for a daemon that is asked during a trial; it may hang.
const statusPatience = 10 * time.Second

// rebootPatience is how long an orderly reboot may take, until it is done the hard way.
const rebootPatience = 2 * time.Minute

// syncPatience is how long the hard way waits for the disk.
const syncPatience = 10 * time.Second

func upgradeTrialCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "trial",
		Short:  "Watch a boot that is on trial (systemd runs this)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(newLineHandler(cmd.OutOrStdout()))
			w := &upgrade.Watch{
				Upgrader: &upgrade.Upgrader{Log: log, Now: time.Now, Run: runProgram},
				Status: func(ctx context.Context) (status.Machine, error) {
					ctx, cancel := context.WithTimeout(ctx, statusPatience)
					defer cancel()
					return status.Get[status.Machine](ctx, status.Socket)
				},
				Uptime: uptime,
				Reboot: rebootForGood,
				Poll:   trialPoll,
			}
			return command.Failed(w.Run(cmd.Context()))
		},
	}
}

// uptime counts the time that a machine sleeps, too.
func uptime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, fmt.Errorf("ask for the time since the boot: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// rebootForGood reboots in order, or the hard way where that can't be done, or hangs: what runs is what is being left. A
// reboot in order ends this process.
func rebootForGood(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, rebootPatience)
	defer cancel()
	if err := runProgram(asking, "systemctl", "reboot", "--no-block"); err == nil {
		<-asking.Done()
	}
	if ctx.Err() != nil {
		return nil
	}
	synced := make(chan struct{})
	go func() {
		unix.Sync()
		close(synced)
	}()
	select {
	case <-synced:
	case <-time.After(syncPatience): // a disk that is gone keeps it for ever
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
