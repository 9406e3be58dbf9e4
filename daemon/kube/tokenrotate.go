// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

func tokenRotateCommand() *cobra.Command {
	var newToken, server, dataDir string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the cluster's own token: the old one lets nobody in any more",
		Long: `Replace the server token, on a server that runs: with the one on standard input, or
with one that is made. It is also the token of agents, unless they have one of their
own (skerry.cluster.agent-token), which stays.

From then on the old one lets nobody in. Nodes that have joined stay: they have
certificates. A server whose cloud-config still has the old one as
skerry.cluster.token doesn't start with it, for that would undo the rotation.`,
		Example: `  sudo skerry token rotate
  sudo skerry token rotate --new-token - < /root/new-token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if newToken == "-" {
				if newToken, err = readLine(cmd.InOrStdin()); err != nil {
					return command.Failed(err)
				}
			}
			dir := filepath.Join(dataDir, "server")
			return command.Failed(rotateToken(cmd.Context(), cmd.OutOrStdout(), server, dir, newToken))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&newToken, "new-token", "", "the new token: - to read it from standard input; one given here, other users of this machine can read while the command runs; none, and one is made")
	flags.StringVar(&server, "server", admin.DefaultServer, "this machine's own supervisor")
	flags.StringVar(&dataDir, "data-dir", configschema.DefaultDataDir, "folder of everything the cluster keeps")
	return cmd
}

// rotateToken has the server replace its token, by newToken or by one it makes.
func rotateToken(ctx context.Context, out io.Writer, server, dir, newToken string) error {
	client, err := admin.NewClient(server, dir)
	if err != nil {
		return fmt.Errorf("%w; is this a server, and are you root?", err)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := client.Put(ctx, admin.PathToken, admin.TokenRequest{NewToken: newToken}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `The token is replaced, and is in %s. Nodes that have joined stay.
Where a cloud-config has the old one as skerry.cluster.token, put the new one in, and
sudo skerry config apply FILE:
  1. on servers, now: their control plane doesn't start with the old one
  2. on agents, at any time: they need it when they have lost their certificate
Keep the old one with backups that were made before.
`, filepath.Join(dir, "token"))
	return err
}

// readLine reads a token from standard input.
func readLine(in io.Reader) (string, error) {
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the token from standard input: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", errors.New("standard input has no token")
	}
	return line, nil
}
