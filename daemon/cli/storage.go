// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/storage"
)

func storageCommand() *cobra.Command { return newStorageCommand(storage.Here()) }

func newStorageCommand(here *storage.Storage) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Look at the encryption of STATE and DATA, and keep its keys",
		Long: `Look at the encryption of STATE and DATA, the partitions of this machine's identity and
data, and keep its keys. Whether they are encrypted is decided when they are made, by
skerry.storage of the cloud-config.

Exit codes:
  0  done
  1  failed; the reason is on standard error
  2  the command line is wrong`,
	}
	cmd.AddCommand(storageStatusCommand(here), storageRecoveryKeyCommand(here), storageEnrollCommand(here))
	return cmd
}

func storageStatusCommand(here *storage.Storage) *cobra.Command {
	var out command.Output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether STATE and DATA are encrypted, and what opens them",
		Example: `  sudo skerry storage status
  sudo skerry storage status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := here.Status()
			if err != nil {
				return command.Failed(err)
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), found, func() string { return storageText(found) }))
		},
	}
	out.Flag(cmd)
	return cmd
}

func storageText(s storage.Status) string {
	if !s.Encrypted {
		return "STATE and DATA are not encrypted\n"
	}
	text := "STATE and DATA are encrypted\n"
	switch {
	case s.OpenedBy == "tpm2":
		text += "opened by:     TPM\n"
	case s.OpenedBy != "":
		text += "opened by:     " + s.OpenedBy + "\n"
	}
	if s.Passphrase {
		return text + "without TPM:   a passphrase or recovery key opens them\n"
	}
	return text + "without TPM:   nothing opens them; make a recovery key: skerry storage recovery-key\n"
}

func storageRecoveryKeyCommand(here *storage.Storage) *cobra.Command {
	return &cobra.Command{
		Use:   "recovery-key",
		Short: "Make a key that opens STATE and DATA where the TPM does not, and print it",
		Long: `Make a key that opens STATE and DATA where the TPM does not: after a new firmware, another
setting of Secure Boot, another mainboard. It is asked for at the console then.

The key is printed once and kept nowhere: keep it away from this machine. It takes the
place of the passphrase or recovery key before it. Where the cloud-config has
skerry.storage.passphrase, that is back at the next boot.`,
		Example: `  sudo skerry storage recovery-key > /media/safe/node-1.key`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.ErrOrStderr(), "making a recovery key; this takes some seconds")
			key, err := here.NewRecoveryKey(cmd.Context())
			if err != nil {
				return command.Failed(fmt.Errorf("no recovery key was made, or on one of the partitions only; repeat this: %w", err))
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key)
			return command.Failed(err)
		},
	}
}

func storageEnrollCommand(here *storage.Storage) *cobra.Command {
	return &cobra.Command{
		Use:   "enroll",
		Short: "Bind STATE and DATA to this machine's TPM as it is now",
		Long: `Bind STATE and DATA to this machine's TPM as it is now, in place of what they were bound
to. It asks for the passphrase or recovery key, or reads it from standard input.`,
		Example: `  sudo skerry storage enroll
  sudo skerry storage enroll < node-1.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			passphrase, err := askPassphrase(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return command.Failed(err)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "binding STATE and DATA to the TPM; this takes some seconds")
			if err := here.EnrollTPM(cmd.Context(), passphrase); err != nil {
				return command.Failed(err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the TPM opens STATE and DATA from the next boot on")
			return nil
		},
	}
}

// askPassphrase reads a line, which a terminal doesn't show.
func askPassphrase(in io.Reader, prompts io.Writer) (string, error) {
	if terminal, ok := in.(interface{ Fd() uintptr }); ok && isTerminal(in) {
		fmt.Fprint(prompts, "Passphrase or recovery key: ")
		line, err := term.ReadPassword(int(terminal.Fd()))
		fmt.Fprintln(prompts)
		return string(line), err
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("no passphrase on standard input")
	}
	return line, nil
}
