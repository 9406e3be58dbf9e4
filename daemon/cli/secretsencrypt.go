// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// encryptionPoll is how often a command that waits looks.
const encryptionPoll = time.Second

// secretsEncryption is one of the commands of secrets-encrypt.
type secretsEncryption struct {
	dataDir, server string
	noWait          bool
}

func secretsEncryptCommand() *cobra.Command {
	var e secretsEncryption
	cmd := &cobra.Command{
		Use:   "secrets-encrypt",
		Short: "Show and change how Secrets are encrypted in the datastore",
		Long: `Show and change how Secrets are encrypted in the datastore, on a server that runs.

A cluster encrypts its Secrets from the beginning, unless its servers were told
otherwise by skerry.cluster.secrets-encryption: false. A change goes through stages:
every server reads with the new key before one writes with it, then all Secrets are
written anew, and then the old key is dropped. Servers need no restart.

The servers do it, not the command: it may be interrupted, and so may they. What was
begun goes on by itself, on another server if need be.`,
		Example: `  sudo skerry secrets-encrypt status
  sudo skerry secrets-encrypt rotate-keys`,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&e.server, "server", admin.DefaultServer, "this machine's own supervisor")
	yes, no := true, false
	rotate, reencrypt := admin.StageRotateKeys, admin.StageReencrypt
	cmd.AddCommand(
		e.status(),
		e.change("enable", "Encrypt Secrets that are plain until now, with a new key", admin.EncryptionRequest{Enable: &yes}),
		e.change("disable", "Write all Secrets as they are, and drop the key", admin.EncryptionRequest{Enable: &no}),
		e.change("rotate-keys", "Replace the key: a new one, all Secrets written anew, the old one dropped", admin.EncryptionRequest{Stage: &rotate}),
		e.change("reencrypt", "Write all Secrets anew that are written otherwise than new ones", admin.EncryptionRequest{Stage: &reencrypt}),
	)
	for _, sub := range cmd.Commands() {
		dataDirFlag(sub, &e.dataDir)
	}
	cmd.AddCommand(e.partOf("prepare"), e.partOf("rotate"))
	return cmd
}

// partOf is a command of K3s for one stage of rotate-keys.
func (e *secretsEncryption) partOf(stage string) *cobra.Command {
	return &cobra.Command{
		Use:    stage,
		Short:  "Use rotate-keys, which does prepare, rotate and reencrypt in one",
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("%s is a stage of skerry secrets-encrypt rotate-keys, which does prepare, rotate and reencrypt in one", stage)
		},
	}
}

func (e *secretsEncryption) client() (*admin.Client, error) {
	client, err := admin.NewClient(e.server, filepath.Join(e.dataDir, "server"))
	if err != nil {
		return nil, fmt.Errorf("%w; is this a server, and are you root?", err)
	}
	return client, nil
}

func (e *secretsEncryption) status() *cobra.Command {
	var out command.Output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether Secrets are encrypted, and how far a change is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return command.Failed(err)
			}
			var status admin.EncryptionStatus
			if err := client.Get(cmd.Context(), admin.PathEncryptionStatus, &status); err != nil {
				return command.Failed(err)
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), status, func() string { return encryptionText(status) }))
		},
	}
	out.Flag(cmd)
	return cmd
}

// encryptionText is a status for people.
func encryptionText(s admin.EncryptionStatus) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	encrypted := "no"
	if s.Enable != nil && *s.Enable {
		encrypted = "yes, new ones by " + s.Provider
	}
	fmt.Fprintf(w, "Encrypted\t%s\n", encrypted)
	if s.ActiveKey != "" {
		fmt.Fprintf(w, "Key\t%s\n", s.ActiveKey)
	}
	for _, key := range s.InactiveKeys {
		fmt.Fprintf(w, "Reads only\t%s\n", key)
	}
	fmt.Fprintf(w, "Change\t%s\n", encryptionStage(s))
	servers := "all use these keys"
	if !s.HashMatch {
		servers = s.HashError
	}
	fmt.Fprintf(w, "Servers\t%s\n", servers)
	if s.Problem != "" {
		fmt.Fprintf(w, "Problem\t%s\n", s.Problem)
	}
	_ = w.Flush() // to memory
	return b.String()
}

// encryptionStage says how far a change is.
func encryptionStage(s admin.EncryptionStatus) string {
	switch {
	case s.Finished:
		return "none under way (" + s.Stage + ")"
	case s.Total > 0:
		return fmt.Sprintf("%s, %d of %d Secrets", s.Stage, s.Done, s.Total)
	case s.HashError != "":
		return s.Stage + ": " + s.HashError
	}
	return s.Stage
}

func (e *secretsEncryption) change(use, short string, request admin.EncryptionRequest) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long: short + `.

It shows how far the servers are, until they have finished. Interrupted, it changes
nothing: skerry secrets-encrypt status shows the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return command.Failed(err)
			}
			if err := client.Put(cmd.Context(), admin.PathEncryption, request); err != nil {
				return command.Failed(err)
			}
			if e.noWait {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "it has begun; skerry secrets-encrypt status shows how far it is")
				return command.Failed(err)
			}
			return command.Failed(followEncryption(cmd.Context(), cmd.OutOrStdout(), client, encryptionPoll))
		},
	}
	cmd.Flags().BoolVar(&e.noWait, "no-wait", false, "return as soon as it has begun")
	return cmd
}

// followEncryption prints each news of a change until it is finished. A server that is started again meanwhile is waited for.
func followEncryption(ctx context.Context, out io.Writer, client *admin.Client, poll time.Duration) error {
	said := ""
	say := func(line string) error {
		if line == said {
			return nil
		}
		said = line
		_, err := fmt.Fprintln(out, line)
		return err
	}
	for {
		var s admin.EncryptionStatus
		err := client.Get(ctx, admin.PathEncryptionStatus, &s)
		switch {
		case ctx.Err() != nil:
			return errors.New("it goes on without this command; skerry secrets-encrypt status shows how far it is")
		case err != nil:
			err = say("the server doesn't answer: " + err.Error())
		case s.Finished:
			_, err := fmt.Fprintf(out, "finished\n%s", encryptionText(s))
			return err
		case s.Problem != "":
			err = say(encryptionStage(s) + ": " + s.Problem)
		default:
			err = say(encryptionStage(s))
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(poll):
		}
	}
}
