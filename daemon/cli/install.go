// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/install"
	"github.com/skerry-os/skerry/daemon/live"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/unit"
	"github.com/skerry-os/skerry/daemon/version"
)

// What a machine does once it is installed.
const (
	afterReboot   = "reboot"
	afterPowerOff = "poweroff"
	afterStay     = "stay"
)

// installation is what `skerry install` was asked for.
type installation struct {
	out    command.Output
	list   bool
	disk   string
	wipe   bool
	config string
	after  string
	// console waits for somebody to press Enter: systemd runs it on each console.
	console bool

	// Those of this machine, except in tests.
	disks   func(ctx context.Context) ([]install.Disk, error)
	install func(ctx context.Context, disk install.Disk, wipe bool, document *source.Document, section *configschema.Storage) error
	kept    source.Source
	leave   func(ctx context.Context, after string) error
}

func installCommand() *cobra.Command {
	n := &installation{kept: source.NewState(), leave: leave}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install this live system to a disk",
		Long: `Install the live system that this machine was booted with to one of its disks. On a
terminal it shows the disks and asks which; with --disk it asks nothing.

Nothing is written to the medium the system runs from, to a disk that is in use, or to
one with a partition table or a file system, unless that is wiped: by --wipe, or on a
terminal by typing the disk's name. What was written is read back before it is called
installed. A power cut leaves a disk that is installed, or one that counts as empty.

The installed machine gets the cloud-config that this one was booted with, or that of
--config. With neither it looks for one when it boots, on its media and at its cloud.

To install without anybody at the machine, give it a cloud-config with skerry.install.

Exit codes:
  0  installed, or listed
  1  failed; the reason is on standard error
  2  the command line is wrong`,
		Example: `  sudo skerry install                                  # asks
  sudo skerry install --list -o json                   # the disks there are
  sudo skerry install --disk nvme0n1 --config server.yaml
  sudo skerry install --disk /dev/disk/by-id/ata-X --wipe --after poweroff`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := n.check(cmd.InOrStdin()); err != nil {
				return err
			}
			if err := n.here(cmd); err != nil {
				return command.Failed(err)
			}
			return command.Failed(n.run(cmd))
		},
	}
	n.out.Flag(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&n.list, "list", false, "list the disks, and install nothing")
	flags.StringVar(&n.disk, "disk", "", "install to this disk: a name, a path, or a link below /dev/disk")
	flags.BoolVar(&n.wipe, "wipe", false, "with --disk: lose what is on the disk")
	flags.StringVar(&n.config, "config", "", "file with the cloud-config of the installed machine")
	flags.StringVar(&n.after, "after", "", "what to do then: reboot, poweroff or stay (default: stay, or ask on a terminal)")
	flags.BoolVar(&n.console, "console", false, "wait for somebody to press Enter first")
	_ = flags.MarkHidden("console") // the flag exists
	_ = cmd.RegisterFlagCompletionFunc("after", cobra.FixedCompletions([]string{afterReboot, afterPowerOff, afterStay}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// check refuses what makes no sense together.
func (n *installation) check(in io.Reader) error {
	switch {
	case n.after != "" && n.after != afterReboot && n.after != afterPowerOff && n.after != afterStay:
		return fmt.Errorf("--after %s is none of reboot, poweroff and stay", n.after)
	case n.wipe && n.disk == "":
		return errors.New("--wipe needs --disk: which disk may lose what is on it?")
	case n.list && n.disk != "":
		return errors.New("--list installs nothing: leave --disk out")
	case !n.list && n.disk == "" && !isTerminal(in):
		return errors.New("nobody is at a terminal to be asked: name the disk with --disk (--list shows them)")
	}
	return nil
}

// here prepares for this machine, which must run a live system to install it.
func (n *installation) here(cmd *cobra.Command) error {
	medium, isLive, err := live.Here(commandLine)
	if err != nil {
		return err
	}
	tell := tellLines(cmd.OutOrStdout())
	if isTerminal(cmd.InOrStdin()) {
		tell = tellTerminal(cmd.OutOrStdout())
	}
	i := install.New(medium, version.Skerry, tell, slog.New(slog.DiscardHandler))
	n.disks, n.install = i.Disks, i.Install
	if !isLive && !n.list {
		return errors.New("this is not a live system, so that there is nothing to install from: boot the ISO image of Skerry, or its files for the network")
	}
	return nil
}

func (n *installation) run(cmd *cobra.Command) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	if n.list {
		disks, err := n.disks(ctx)
		if err != nil {
			return err
		}
		return n.out.Print(out, disks, func() string { return install.Table(disks) + "\n" })
	}
	document, section, err := n.document(cmd)
	if err != nil {
		return err
	}
	if n.disk == "" {
		return newDialogue(n, cmd.InOrStdin(), out).run(ctx, document, section)
	}
	disks, err := n.disks(ctx)
	if err != nil {
		return err
	}
	disk, err := install.Find(disks, n.disk)
	if err != nil {
		return err
	}
	if err := n.install(ctx, disk, n.wipe, document, section); err != nil {
		if errors.Is(err, install.ErrData) {
			err = fmt.Errorf("%w: --wipe loses it", err)
		}
		return err
	}
	fmt.Fprintf(out, "\nSkerry %s is installed on %s.\n", version.Skerry, disk.Path)
	return n.leave(ctx, n.after)
}

// document is what the installed machine has its cloud-config of, nil where there is none, with what it says of storage.
func (n *installation) document(cmd *cobra.Command) (*source.Document, *configschema.Storage, error) {
	var document *source.Document
	if n.config != "" {
		name, data, err := read(n.config, cmd.InOrStdin())
		if err != nil {
			return nil, nil, err
		}
		document = &source.Document{Source: "install", Name: name, UserData: data}
	} else {
		var err error
		document, err = n.kept.Fetch(cmd.Context())
		if errors.Is(err, source.ErrAbsent) {
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	var flags userDataFlags
	instance, err := flags.instance()
	if err != nil {
		return nil, nil, err
	}
	merged, err := flags.merge(cmd, document.Name, document.UserData, instance)
	if err != nil {
		return nil, nil, fmt.Errorf("nothing was installed: %w", err)
	}
	if err := merged.Resolve(config.ReadSecret).Err(); err != nil {
		return nil, nil, fmt.Errorf("nothing was installed: %w", err)
	}
	return document, merged.Config.Skerry.Storage, nil
}

// leave does what comes after an installation.
func leave(ctx context.Context, after string) error {
	if after == "" || after == afterStay {
		return nil
	}
	units, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer units.Close()
	if after == afterPowerOff {
		return unit.PowerOff(ctx, units)
	}
	return unit.Reboot(ctx, units)
}
