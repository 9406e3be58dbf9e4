// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
	bootstraptoken "k8s.io/kubernetes/cmd/kubeadm/app/apis/bootstraptoken/v1"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/token"
)

const (
	// joinGroup is the group of agents that join with a bootstrap token, K3s'
	// contract.
	joinGroup  = bootstrapapi.BootstrapDefaultGroup + ":k3s:default-node-token"
	defaultTTL = 24 * time.Hour
	// apiTimeout is for one command: a server that is restarting takes a while.
	apiTimeout = 30 * time.Second
)

var usages = []string{"signing", "authentication"}

// tokens are the bootstrap tokens of a cluster.
type tokens struct {
	client kubernetes.Interface
	// caHash is what a full token names the cluster by.
	caHash string
	now    func() time.Time
}

func openTokens(kubeconfig string) (*tokens, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the admin kubeconfig, which a server has: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ca := config.CAData
	if len(ca) == 0 {
		if ca, err = os.ReadFile(config.CAFile); err != nil {
			return nil, fmt.Errorf("read the cluster's CA: %w", err)
		}
	}
	hash, err := token.CAHash(ca)
	if err != nil {
		return nil, fmt.Errorf("%s: the cluster's CA: %w", kubeconfig, err)
	}
	return &tokens{client: client, caHash: hash, now: time.Now}, nil
}

// newToken is what `skerry token create` can be told.
type newToken struct {
	secret      string // id.secret; made if empty
	ttl         time.Duration
	description string
	groups      []string
	usages      []string
}

func (n *newToken) check() error {
	switch {
	case n.secret != "" && !bootstraputil.IsValidBootstrapToken(n.secret):
		// The token is not quoted: most of it may be right.
		return errors.New("the token isn't of the form abcdef.0123456789abcdef; leave it out, and one is made")
	case n.ttl < 0:
		return fmt.Errorf("--ttl %s is negative; 0 is for a token that never expires", n.ttl)
	}
	if err := bootstraputil.ValidateUsages(n.usages); err != nil {
		return fmt.Errorf("--usages: %w", err)
	}
	for _, group := range n.groups {
		if err := bootstraputil.ValidateBootstrapGroupName(group); err != nil {
			return fmt.Errorf("--groups: %w", err)
		}
	}
	return nil
}

// create stores a token and returns its full form.
func (t *tokens) create(ctx context.Context, n newToken) (string, error) {
	if n.secret == "" {
		secret, err := bootstraputil.GenerateBootstrapToken()
		if err != nil {
			return "", err
		}
		n.secret = secret
	}
	parsed, err := bootstraptoken.NewBootstrapTokenString(n.secret)
	if err != nil {
		return "", errors.New("the token isn't of the form abcdef.0123456789abcdef")
	}
	stored := &bootstraptoken.BootstrapToken{Token: parsed, Description: n.description, Groups: n.groups, Usages: n.usages}
	if n.ttl > 0 {
		stored.Expires = &metav1.Time{Time: t.now().Add(n.ttl)}
	}
	_, err = t.client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, bootstraptoken.BootstrapTokenToSecret(stored), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("there is a token with the id %s already; delete it first, or leave the token out, and one is made", parsed.ID)
	}
	if err != nil {
		return "", fmt.Errorf("store the token: %w", err)
	}
	return token.Token{CAHash: t.caHash, Bootstrap: n.secret}.String(), nil
}

// tokenInfo is a token without its secret. Its JSON form is the contract of
// `skerry token list -o json`.
type tokenInfo struct {
	ID string `json:"id" yaml:"id"`
	// Expires is empty for a token that never does.
	Expires     time.Time `json:"expires,omitzero" yaml:"expires,omitempty"`
	Usages      []string  `json:"usages" yaml:"usages"`
	Groups      []string  `json:"groups" yaml:"groups"`
	Description string    `json:"description,omitempty" yaml:"description,omitempty"`
	// Problem is why nobody can join with it: somebody else made its Secret.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

func (t *tokens) list(ctx context.Context) ([]tokenInfo, error) {
	secrets, err := t.client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("type", string(bootstrapapi.SecretTypeBootstrapToken)).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	all := []tokenInfo{}
	for i := range secrets.Items {
		all = append(all, describeToken(&secrets.Items[i]))
	}
	slices.SortFunc(all, func(a, b tokenInfo) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

func describeToken(secret *corev1.Secret) tokenInfo {
	stored, err := bootstraptoken.BootstrapTokenFromSecret(secret)
	if err != nil {
		// The error may quote what is in the Secret.
		return tokenInfo{
			ID:      strings.TrimPrefix(secret.Name, bootstrapapi.BootstrapTokenSecretPrefix),
			Problem: "the Secret " + secret.Name + " is no valid token",
		}
	}
	info := tokenInfo{ID: stored.Token.ID, Usages: stored.Usages, Groups: stored.Groups, Description: stored.Description}
	if stored.Expires != nil {
		info.Expires = stored.Expires.UTC()
	}
	return info
}

// remove deletes tokens by id, or by the whole token. It goes on after one that
// isn't there.
func (t *tokens) remove(ctx context.Context, names []string, out io.Writer) error {
	var errs []error
	for _, name := range names {
		id := name
		if parsed, err := token.Parse(name); err == nil && parsed.Bootstrap != "" {
			id, _, _ = strings.Cut(parsed.Bootstrap, ".")
		}
		if !bootstraputil.IsValidBootstrapTokenID(id) {
			errs = append(errs, errors.New("what was given is no token and no id of six letters and digits; skerry token list has the ids"))
			continue
		}
		err := t.client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, bootstraputil.BootstrapTokenSecretName(id), metav1.DeleteOptions{})
		switch {
		case apierrors.IsNotFound(err):
			errs = append(errs, fmt.Errorf("there is no token %s; skerry token list has those there are", id))
		case err != nil:
			errs = append(errs, fmt.Errorf("delete token %s: %w", id, err))
		default:
			fmt.Fprintf(out, "token %s is deleted; agents that have joined with it stay\n", id)
		}
	}
	return errors.Join(errs...)
}

func (t *tokens) text(all []tokenInfo) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTTL\tEXPIRES\tUSAGES\tDESCRIPTION")
	for _, info := range all {
		ttl, expires := "forever", "never"
		if !info.Expires.IsZero() {
			ttl, expires = "expired", info.Expires.Format(time.RFC3339)
			if left := info.Expires.Sub(t.now()); left > 0 {
				ttl = duration.HumanDuration(left)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", info.ID, ttl, expires, strings.Join(info.Usages, ","), cmp.Or(info.Problem, info.Description))
	}
	_ = w.Flush() // to memory
	return b.String()
}

func tokenCommand() *cobra.Command {
	var kubeconfig string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make tokens with which agents join, and that expire; replace the cluster's own",
		Long: `Make, list and delete bootstrap tokens, on a server, and replace the cluster's own.

An agent joins with a bootstrap token as with the cluster's own, in skerry.cluster.token.
It expires, by default after a day, and can be deleted; agents that have joined by
then stay, for they have certificates. No server can join with one.`,
		Example: `  skerry token create --ttl 1h --description "the new rack"
  skerry token list
  skerry token delete abcdef
  skerry token rotate`,
	}
	cmd.PersistentFlags().StringVar(&kubeconfig, "kubeconfig", cmp.Or(os.Getenv("KUBECONFIG"), adminKubeconfig), "kubeconfig of an administrator")
	open := func(run func(context.Context, *tokens) error) error {
		t, err := openTokens(kubeconfig)
		if err != nil {
			return command.Failed(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
		defer cancel()
		return command.Failed(run(ctx, t))
	}
	cmd.AddCommand(tokenCreateCommand(open), tokenListCommand(open), tokenDeleteCommand(open), tokenGenerateCommand(), tokenRotateCommand())
	return cmd
}

type openFunc func(run func(context.Context, *tokens) error) error

func tokenCreateCommand(open openFunc) *cobra.Command {
	var n newToken
	cmd := &cobra.Command{
		Use:   "create [TOKEN | -]",
		Short: "Make a token and print it, with the hash of the cluster's CA",
		Long: `Make a token and print it. With the hash of the cluster's CA in it, an agent
trusts no other cluster.

A token of your own is read from standard input for "-". As an argument, other
users of this machine can read it while the command runs.`,
		Example: `  skerry token create --ttl 1h --description "the new rack"
  skerry token generate | skerry token create -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				n.secret = args[0]
			}
			if n.secret == "-" {
				var err error
				if n.secret, err = readLine(cmd.InOrStdin()); err != nil {
					return command.Failed(err)
				}
			}
			if err := n.check(); err != nil {
				return err
			}
			return open(func(ctx context.Context, t *tokens) error {
				full, err := t.create(ctx, n)
				if err == nil {
					_, err = fmt.Fprintln(cmd.OutOrStdout(), full)
				}
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&n.ttl, "ttl", defaultTTL, "how long it is valid, such as 1h30m; 0 is for ever")
	flags.StringVar(&n.description, "description", "", "what it is for")
	flags.StringSliceVar(&n.groups, "groups", []string{joinGroup}, "further groups of who joins with it, each of which begins with system:bootstrappers:")
	flags.StringSliceVar(&n.usages, "usages", usages, "what it may be used for")
	return cmd
}

func tokenListCommand(open openFunc) *cobra.Command {
	var out command.Output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens there are, without their secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open(func(ctx context.Context, t *tokens) error {
				all, err := t.list(ctx)
				if err != nil {
					return err
				}
				return out.Print(cmd.OutOrStdout(), all, func() string { return t.text(all) })
			})
		},
	}
	out.Flag(cmd)
	return cmd
}

func tokenDeleteCommand(open openFunc) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID...",
		Short: "Delete tokens: nobody joins with them any more",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open(func(ctx context.Context, t *tokens) error { return t.remove(ctx, args, cmd.OutOrStdout()) })
		},
	}
}

func tokenGenerateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "generate",
		Short: "Print a random token, which is in no cluster until it is created there",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			random, err := bootstraputil.GenerateBootstrapToken()
			if err != nil {
				return command.Failed(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), random)
			return command.Failed(err)
		},
	}
}
