// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/grub"
)

func upgradeBootEntriesCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "boot-entries FOLDER",
		Short:  "Make GRUB's folder in what becomes an EFI system partition (the image build runs this)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return command.Failed(grub.Create(args[0], args[0], false))
		},
	}
}
