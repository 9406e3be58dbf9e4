// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

func certificateRotateCACommand() *cobra.Command {
	var r authorityRotation
	cmd := &cobra.Command{
		Use:   "rotate-ca (--generate [--new-root --force] | --path DIR [--force])",
		Short: "Replace the cluster's certificate authorities",
		Long: `Replace the cluster's certificate authorities, and the key of its service accounts,
on a server that runs. It uses the new ones when it is started again.

--generate makes new ones, each signed by itself and by the one it replaces: whoever
trusts the old trusts the new, and the other way round. Tokens, kubeconfigs and
agents go on working; the command says what to start again.

--generate --new-root makes some that nobody trusts yet, such as after a key was
stolen. It needs --force, and agents whose token begins with K10 need a new one.

--path takes your own, under K3s' names, from DIR/tls or DIR: server-ca.crt,
client-ca.crt, request-header-ca.crt, each with the certificates of those who signed
it up to the root, the .key of each, and service.key, whose first key signs the
tokens of service accounts and whose others verify them. What isn't there stays. A
root of the present ones must be in each chain, and the key that signs now in
service.key; --force takes them all the same.`,
		Example: `  sudo skerry certificate rotate-ca --generate
  sudo skerry certificate rotate-ca --path /root/new-ca`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.check(); err != nil {
				return err
			}
			return command.Failed(r.run(cmd.Context(), cmd.OutOrStdout()))
		},
	}
	dataDirFlag(cmd, &r.dataDir)
	flags := cmd.Flags()
	flags.StringVar(&r.path, "path", "", "take the authorities from this folder")
	flags.BoolVar(&r.generate, "generate", false, "make new authorities, which the present ones have signed")
	flags.BoolVar(&r.newRoot, "new-root", false, "with --generate: the present ones have not signed them")
	flags.BoolVar(&r.force, "force", false, "replace the authorities by unrelated ones")
	flags.StringVar(&r.server, "server", admin.DefaultServer, "this machine's own supervisor")
	return cmd
}

// authorityRotation is what `skerry certificate rotate-ca` was asked for.
type authorityRotation struct {
	dataDir, server          string
	path                     string
	generate, newRoot, force bool
}

func (r authorityRotation) check() error {
	switch {
	case r.generate == (r.path != ""):
		return errors.New("either --generate makes new authorities, or --path says where they are")
	case r.newRoot && !r.generate:
		return errors.New("--new-root is for --generate")
	case r.newRoot && !r.force:
		return errors.New("with --new-root nothing that trusts the present authorities trusts the new ones, and agents need new tokens: if that is what you want, add --force")
	}
	return nil
}

func (r authorityRotation) run(ctx context.Context, out io.Writer) error {
	dir := filepath.Join(r.dataDir, "server")
	if _, err := os.ReadDir(dir); err != nil {
		return fmt.Errorf("%w; is this a server, and are you root?", err)
	}
	present, err := pki.ReadAuthorities(filepath.Join(dir, "tls"))
	if err != nil {
		return err
	}
	now := time.Now()
	var next pki.Authorities
	if r.generate {
		next, err = present.Successors(now, r.newRoot)
	} else {
		next, err = r.read()
	}
	if err != nil {
		return err
	}
	client, err := admin.NewClient(r.server, dir)
	if err != nil {
		return err
	}
	if err := client.Put(ctx, admin.PathAuthorities+"?"+admin.QueryForce+"="+strconv.FormatBool(r.force), next); err != nil {
		return err
	}
	// The server has taken them: what is said here is no reason to refuse.
	var unrelated *pki.UnrelatedError
	_, err = present.Replace(next, now)
	_, err = io.WriteString(out, rotatedText(errors.As(err, &unrelated)))
	return err
}

// read returns the authorities that a user has made.
func (r authorityRotation) read() (pki.Authorities, error) {
	dir := filepath.Join(r.path, "tls") // as K3s has it
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = r.path
	}
	next, err := pki.ReadAuthorities(dir)
	if err == nil && len(next) == 0 {
		err = fmt.Errorf("there is no server-ca.crt, client-ca.crt or other file of an authority in %s", dir)
	}
	return next, err
}

// rotatedText says what is to be done next.
func rotatedText(unrelated bool) string {
	const restart = "sudo systemctl restart skerry-control.service skerry-node.service"
	if !unrelated {
		return `The server has the new authorities, and uses them when it is started again:
  1. on each server, one after the other:  ` + restart + `
  2. on each agent, at any time:           sudo systemctl restart skerry-node.service
Pods go on running. Tokens and kubeconfigs stay valid.
`
	}
	return `The server has the new authorities, and uses them when it is started again. Nothing
that trusts the present ones will trust it then. Have your agents at hand: pods of a
node that is silent for more than five minutes are replaced.
  1. on each server, one after the other:  ` + restart + `
  2. on each agent whose token begins with K10: put the new one, which then is in the
     server's /var/lib/rancher/k3s/server/node-token, into skerry.cluster.token, and
                                           sudo skerry config apply FILE
  3. on every other agent:                 sudo systemctl restart skerry-node.service
  4. pods that read the cluster's CA only once have to be started again, such as
                                           kubectl -n kube-system rollout restart deployment
  5. copies of the kubeconfig, and tokens of skerry token create, are to be made anew
`
}
