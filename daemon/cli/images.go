// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/images"
)

func imagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Container images that came with the machine",
	}
	cmd.AddCommand(importCommand())
	return cmd
}

func importCommand() *cobra.Command {
	importer := images.Importer{}
	var address, snapshotter string
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Import the image's and the user's archives into containerd, each once",
		Long: `Import container images from archives into containerd: those that ship with the
machine, and those a user put into ` + images.UserDir + `
(.tar, also with gzip, zstd, bzip2 or lz4). An archive that was imported before, and
whose images are still complete, is left alone. systemd runs this at each boot.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			importer.Log = slog.New(newLineHandler(cmd.OutOrStdout()))
			store, err := images.Dial(cmd.Context(), address, snapshotter)
			if err != nil {
				return command.Failed(fmt.Errorf("connect to containerd: %w", err))
			}
			defer store.Close()
			importer.Store = store
			return command.Failed(importer.Run(cmd.Context()))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&importer.Packaged, "packaged", images.PackagedDir, "directory of the machine's own archives")
	flags.StringVar(&importer.User, "user", images.UserDir, "directory of the user's archives")
	flags.StringVar(&importer.Stamps, "stamps", images.StampDir, "directory that remembers what was imported")
	flags.StringVar(&address, "address", images.Address, "containerd's socket")
	flags.StringVar(&snapshotter, "snapshotter", "overlayfs", "containerd's snapshotter")
	return cmd
}
