// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/log"
	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/unit"
	"github.com/skerry-os/skerry/daemon/upgrade"
	"github.com/skerry-os/skerry/daemon/version"
)

// sourcesHelp teaches what people may write for SOURCE.
const sourcesHelp = `SOURCE is where the payload is; without it, skerry.upgrade.source of the cloud-config:
  https://HOST/PATH              the folder, on a web server; or http://
  oci://HOST/REPOSITORY[:TAG]    an image of an OCI registry; or with @DIGEST. Without
                                 either, the newest version that the registry has a tag
                                 for. Mirrors, credentials and certificates are those of
                                 skerry.registries
  disk:[LABEL][/PATH]            the folder, or a tar archive of it, on the disk or USB
                                 stick whose file system (vfat, exfat, ext4, iso9660) has
                                 that label: ` + configschema.UpgradeVolume + ` where none is given
  PATH                           the folder on this machine, or a tar archive of it`

func upgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring another version of the system to this machine, or go back",
		Long: `Bring another version of the system to this machine, or go back.

The disk has two slots, each with a whole system. One runs; an upgrade writes the
other. The next boot tries it, and so do two more if it doesn't come up. Once the node
has been Ready for a while (skerry.upgrade.trial of the cloud-config) the new version
is blessed, and is what the machine boots from then on. Otherwise the machine goes back
by itself to the version before, and says why: on the console, in skerry status, and
here. The cluster's data and the machine's identity are in neither slot.

A payload is a folder with a signed manifest. Whom the machine trusts to sign is said by
the image, and by skerry.upgrade.keys. Nothing is written before the signature, and
nothing to a slot before everything was verified, wherever it comes from.

` + sourcesHelp,
		Example: `  sudo skerry upgrade check https://example.org/skerry/stable
  sudo skerry upgrade apply https://example.org/skerry/stable --reboot
  sudo skerry upgrade apply oci://registry.example.org/skerry:1.2.3
  sudo skerry upgrade apply disk:
  sudo skerry upgrade apply ./skerry-1.2.3-amd64.upgrade.tar
  sudo skerry upgrade status
  sudo skerry upgrade rollback --reboot`,
	}
	cmd.AddCommand(upgradeCheckCommand(), upgradeApplyCommand(), upgradeStatusCommand(), upgradeRollbackCommand(), upgradeTrialCommand(),
		upgradeBootEntriesCommand())
	return cmd
}

// upgrader is for this machine, with what its configuration says of upgrades, and the source that this names.
func upgrader(log io.Writer) (*upgrade.Upgrader, string, error) {
	u := &upgrade.Upgrader{Kubernetes: version.Kubernetes, Trial: upgrade.DefaultTerms, Log: slog.New(newLineHandler(log)), Now: time.Now, Run: runProgram,
		Registries: upgrade.Registries{HostsDir: apply.RegistryHostsDir}}
	layers, err := running(config.RunningFile)
	if errors.Is(err, fs.ErrNotExist) {
		return u, "", nil // there is none, or it was refused: an upgrade may be what mends that
	}
	if err != nil {
		return nil, "", err
	}
	merged, err := layers.Merge()
	if err != nil {
		return nil, "", err
	}
	u.Registries.Credentials = registryCredentials(merged)
	u.Misfits = misfits(merged.Config.Skerry.Extensions, u.Log)
	section := merged.Config.Skerry.Upgrade
	if section == nil {
		return u, "", nil
	}
	for _, key := range section.Keys {
		u.Keys = append(u.Keys, string(key))
	}
	u.Trial.Deadline = cmp.Or(time.Duration(section.Trial.Deadline), u.Trial.Deadline)
	u.Trial.Stable = cmp.Or(time.Duration(section.Trial.Stable), u.Trial.Stable)
	return u, section.Source, nil
}

func runProgram(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// failedUpgrade gives what was refused, and what somebody else is doing, a code of their own.
func failedUpgrade(err error) error {
	var refused *upgrade.RefusedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, upgrade.ErrBusy):
		return command.Exit(command.ExitBusy, err)
	case errors.As(err, &refused), errors.Is(err, upgrade.ErrUnsigned):
		return command.Exit(command.ExitRefused, err)
	}
	return command.Failed(err)
}

// fromSource uses the source that the argument names, or else the configuration, and lets go of it.
func fromSource(cmd *cobra.Command, args []string, use func(*upgrade.Upgrader, upgrade.Source) error) (err error) {
	u, text, err := upgrader(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if len(args) > 0 {
		text = args[0]
	}
	// It tells of each host that it asks in vain; what comes of it is in the error.
	if err := log.SetLevel(log.WarnLevel.String()); err != nil {
		return err
	}
	from, err := u.Source(text)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	return use(u, from)
}

func upgradeCheckCommand() *cobra.Command {
	var out command.Output
	cmd := &cobra.Command{
		Use:   "check [SOURCE]",
		Short: "Show which version a source has, without changing anything",
		Long: `Show which version a source has, and whether it is newer than the one that runs.
Its signature is verified; nothing is changed.

` + sourcesHelp + `

` + command.ExitCodes,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var offer *upgrade.Offer
			if err := fromSource(cmd, args, func(u *upgrade.Upgrader, from upgrade.Source) (err error) {
				offer, err = u.Check(cmd.Context(), from)
				return err
			}); err != nil {
				return failedUpgrade(err)
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), offer, func() string { return offerText(offer) }))
		},
	}
	out.Flag(cmd)
	return cmd
}

func offerText(o *upgrade.Offer) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Source\t%s\nRuns\t%s\nOffered\t%s, with Kubernetes %s, %s to fetch\n", o.Source, o.Running, o.Version, o.Kubernetes, mebibytes(o.Bytes))
	if len(o.Versions) > 0 {
		fmt.Fprintf(w, "Versions\t%s\n", versionsText(o.Versions))
	}
	news := "nothing newer"
	switch {
	case o.Installed:
		news = "it is in the other slot, and is tried at the next boot"
	case o.Failed != "":
		news = "this machine fell back from this version: " + o.Failed
	case o.Newer:
		news = "skerry upgrade apply brings it"
	}
	fmt.Fprintf(w, "News\t%s\n", news)
	if o.NoWayBack != "" {
		fmt.Fprintf(w, "Warning\t%s\n", o.NoWayBack)
	}
	_ = w.Flush() // to memory
	return b.String()
}

// versionsText is the newest of some versions.
func versionsText(all []string) string {
	const shown = 8
	if len(all) <= shown {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d older ones", strings.Join(all[:shown], ", "), len(all)-shown)
}

func upgradeApplyCommand() *cobra.Command {
	var (
		may    upgrade.Choice
		reboot bool
	)
	cmd := &cobra.Command{
		Use:   "apply [SOURCE]",
		Short: "Write a version to the slot that doesn't run, to be tried at the next boot",
		Long: `Fetch a version, verify it, and write it to the slot that doesn't run. The next boot
tries it; --reboot does that at once.

Whether there is space is asked before the first byte is fetched. Interrupted anywhere, by
Ctrl-C or a power cut, the machine goes on with what it has, and the same command goes on
where it was.

` + sourcesHelp + `

An older version than the one that runs is refused, unless --allow-downgrade is given:
what a newer Kubernetes has written, an older one may not read. So is one that doesn't fit
the extensions of this machine (skerry.extensions), unless --without-extensions is given.

` + command.ExitCodes,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var offer *upgrade.Offer
			if err := fromSource(cmd, args, func(u *upgrade.Upgrader, from upgrade.Source) (err error) {
				u.Progress = progressPrinter(cmd.OutOrStdout())
				offer, err = u.Apply(cmd.Context(), from, may)
				return err
			}); err != nil {
				return failedUpgrade(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is installed, and is tried at the next boot; until it has proven itself %s stays the version to go back to\n",
				offer.Version, offer.Running)
			return command.Failed(rebootIf(cmd.Context(), reboot))
		},
	}
	cmd.Flags().BoolVar(&may.Downgrade, "allow-downgrade", false, "install an older version than the one that runs")
	cmd.Flags().BoolVar(&may.WithoutExtensions, "without-extensions", false, "install a version that doesn't merge extensions of this machine")
	cmd.Flags().BoolVar(&reboot, "reboot", false, "reboot once it is installed")
	return cmd
}

// progressPrinter prints a line for each step, and for each tenth of it.
func progressPrinter(out io.Writer) func(upgrade.Progress) {
	const parts = 10
	step, told := "", int64(0)
	return func(p upgrade.Progress) {
		if p.Step != step {
			step, told = p.Step, 0
			if p.Total == 0 {
				fmt.Fprintln(out, p.Step)
			}
		}
		if p.Total == 0 {
			return
		}
		if part := p.Done * parts / p.Total; part > told {
			told = part
			fmt.Fprintf(out, "%s: %s of %s\n", p.Step, mebibytes(p.Done), mebibytes(p.Total))
		}
	}
}

func rebootIf(ctx context.Context, wanted bool) error {
	if !wanted {
		return nil
	}
	units, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer units.Close()
	return unit.Reboot(ctx, units)
}

func upgradeRollbackCommand() *cobra.Command {
	var reboot bool
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Have the next boot try the version of the other slot",
		Long: `Have the next boot try the version of the other slot, which ran before. It has to prove
itself as a new one does, and the version that runs now stays the one to go back to.
A version that is on trial now is given up.

The cluster's data stays as it is: an older Kubernetes may not read all that a newer one
has written. Take a snapshot first (skerry etcd-snapshot).

` + command.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, _, err := upgrader(cmd.ErrOrStderr())
			if err != nil {
				return command.Failed(err)
			}
			to, err := u.Rollback(cmd.Context())
			if err != nil {
				return failedUpgrade(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the next boot is of %s\n", to)
			return command.Failed(rebootIf(cmd.Context(), reboot))
		},
	}
	cmd.Flags().BoolVar(&reboot, "reboot", false, "reboot at once")
	return cmd
}

func upgradeStatusCommand() *cobra.Command {
	var out command.Output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the slots, what is on trial, and how the last upgrade ended",
		Long: `Show the two slots: their versions, which runs, which has proven itself. Show what is
on trial or waits for a reboot, and how the last upgrade ended: if the machine has gone
back, why.

` + command.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u := &upgrade.Upgrader{Log: slog.New(newLineHandler(cmd.ErrOrStderr())), Now: time.Now}
			s, err := u.Status(cmd.Context())
			if err != nil {
				return command.Failed(fmt.Errorf("%w; are you root?", err))
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), s, func() string { return upgradeText(s) }))
		},
	}
	out.Flag(cmd)
	return cmd
}

func upgradeText(s *upgrade.State) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Runs\t%s\n", s.Version)
	if s.News != "" {
		fmt.Fprintf(w, "Now\t%s\n", s.News)
	}
	if s.Last != nil {
		fmt.Fprintf(w, "Last upgrade\t%s (%s)\n", s.Last, s.Last.At.Local().Format(time.DateTime))
	}
	fmt.Fprintf(w, "\nSLOT\tVERSION\tSTATE\tATTEMPTS LEFT\t\n")
	for _, one := range s.All {
		left, runs := "", ""
		if one.UKI != nil && one.UKI.Left != nil {
			left = fmt.Sprint(*one.UKI.Left)
		}
		if one.Running {
			runs = "runs"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", one.Root.Path, cmp.Or(one.Version, "-"), one.State, left, runs)
	}
	_ = w.Flush() // to memory
	return b.String()
}
