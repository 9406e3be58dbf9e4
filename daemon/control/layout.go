// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"os"
	"path/filepath"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// layout names the directories of a server, K3s' contract.
type layout struct {
	server    string // S, /var/lib/rancher/k3s/server
	tls       string
	cred      string
	etc       string
	db        string
	etcd      string // data of an embedded etcd's member
	manifests string
	socket    string // kine
	resetFlag string // K3s': cluster-reset was done
}

func newLayout(c configschema.Cluster) layout {
	s := filepath.Join(c.DataDir, "server")
	return layout{
		server:    s,
		tls:       filepath.Join(s, "tls"),
		cred:      filepath.Join(s, "cred"),
		etc:       filepath.Join(s, "etc"),
		db:        filepath.Join(s, "db"),
		etcd:      filepath.Join(s, "db", "etcd"),
		manifests: filepath.Join(s, "manifests"),
		socket:    filepath.Join(s, "kine.sock"),
		resetFlag: filepath.Join(s, "db", "reset-flag"),
	}
}

func (l layout) create() error {
	for _, dir := range []string{l.server, l.tls, l.cred, l.etc, l.db, l.manifests} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create server directory: %w", err)
		}
	}
	return nil
}

// sweep removes what writes left that were interrupted.
func (l layout) sweep(kubeconfig string) error {
	dirs := []string{l.server, l.tls, l.cred, l.etc, l.db, l.etcd, filepath.Dir(kubeconfig)}
	for _, part := range []string{"etcd", "kube-controller-manager", "kube-scheduler"} {
		dirs = append(dirs, filepath.Join(l.tls, part))
	}
	return atomicfile.Sweep(dirs...)
}
