// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/skerry-os/skerry/daemon/argument"
)

// ours are the arguments that a user may change. K3s' times of raft, 500 ms and 5 s, would keep a cluster without a leader
// for up to ten seconds when that is gone; these are for the same slow disks, since PreVote keeps a member that was slow
// from disturbing the others.
var ours = map[string]string{
	"heartbeat-interval":                   "250",
	"election-timeout":                     "2500",
	"snapshot-count":                       "10000",
	"bootstrap-defrag-threshold-megabytes": "100",
	"feature-gates":                        "InitialCorruptCheck=true",
	"watch-progress-notify-interval":       "5s",
	// The defaults tell of each request that a slow disk delays by a tenth of a second.
	"warning-apply-duration":         "1s",
	"warning-unary-request-duration": "2s",
}

// owned are what makes a member this cluster's.
var owned = []string{
	"name", "data-dir", "wal-dir", "force-new-cluster", "unsafe-no-fsync", "config-file",
	"listen-", "advertise-", "initial-", "discovery", "cert-", "key-", "client-", "trusted-", "auto-tls", "peer-", "log", "enable-log-rotation",
}

// OwnedArg reports whether an argument, such as listen-peer-urls, is not the user's to set.
func OwnedArg(name string) bool {
	return name != "initial-election-tick-advance" && slices.ContainsFunc(owned, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// parseArgs sets what the user's arguments, or ours, say.
func (o Options) parseArgs(config *embed.Config) error {
	for _, arg := range o.Args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if OwnedArg(name) {
			return fmt.Errorf("etcd-arg: %s is set by the server itself; remove it", name)
		}
	}
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	config.AddFlags(fs)
	if err := fs.Parse(argument.Merge(ours, o.Args)); err != nil {
		return fmt.Errorf("etcd-arg: %w", err)
	}
	return nil
}
