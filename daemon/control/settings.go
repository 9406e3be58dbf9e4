// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/join"
	"github.com/skerry-os/skerry/daemon/supervisor"
	"github.com/skerry-os/skerry/daemon/token"
)

// runningServers is where each kube-apiserver that runs keeps a key of its address, which expires seconds after it ended.
const runningServers = "/registry/masterleases/"

// compareTimeout bounds the question of each server: one that has just lost its power is not waited for.
const compareTimeout = 3 * time.Second

// MismatchError is for settings that must be the same on all servers, and aren't.
type MismatchError struct {
	Server      string
	Differences []string // such as "cluster-cidr: 10.42.0.0/16 there, 10.50.0.0/16 here"
}

func (e *MismatchError) Error() string {
	return "critical configuration value mismatch between servers: " + strings.Join(e.Differences, "; ") +
		"; make them what " + e.Server + " has, or change them on all servers while none runs. Nothing was changed"
}

// compare asks a server for its settings, and compares those that must be the same.
func compare(ctx context.Context, opts Options, server *join.Server) error {
	theirs, err := server.Config(ctx)
	if err != nil {
		return err
	}
	ours, err := supervisor.AgentConfig(opts.Cluster, opts.NodeName)
	if err != nil {
		return err
	}
	if differences := theirs.Differences(ours); len(differences) > 0 {
		return &MismatchError{Server: theirs.ServerNodeName, Differences: differences}
	}
	return nil
}

// compareRunning compares this server's settings with those of another server that runs, if there is one. Servers that
// start at once, with nobody running, are not compared.
func compareRunning(ctx context.Context, opts Options, client *etcdkube.Client, shared bool, tokens *token.Tokens) error {
	if !shared {
		return nil
	}
	list, err := client.List(ctx, runningServers, etcdkube.ListOptions{})
	if err != nil {
		return fmt.Errorf("look for other servers: %w", err)
	}
	own := slices.Concat(opts.NodeIPs, opts.NodeExternalIPs, []net.IP{net.ParseIP(opts.Cluster.AdvertiseAddress)})
	for _, kv := range list.Kvs {
		ip := net.ParseIP(path.Base(string(kv.Key)))
		if ip == nil || slices.ContainsFunc(own, ip.Equal) {
			continue
		}
		url := "https://" + net.JoinHostPort(ip.String(), strconv.Itoa(opts.Cluster.HTTPSListenPort))
		server, err := join.NewServer(url, tokens.Server.String(), opts.Log)
		if err != nil {
			return err
		}
		err = func() error {
			ctx, cancel := context.WithTimeout(ctx, compareTimeout)
			defer cancel()
			return compare(ctx, opts, server)
		}()
		var mismatch *MismatchError
		if err == nil || errors.As(err, &mismatch) {
			return err
		}
		opts.Log.Info("settings are not compared with a server's", "server", url, "reason", server.Explain(err))
	}
	return nil
}
