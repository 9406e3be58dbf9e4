// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// serverDir is K3s' server directory.
const serverDir = "/var/lib/rancher/k3s/server"

// taken is what `skerry snapshot save` and `list` say of a snapshot, as far as scenarios look at it.
type taken struct {
	Name, Place, Location, Node, Kind string
	Size, Revision                    int64
}

// saveSnapshot takes a snapshot and returns where it is, the disk first.
func saveSnapshot(ctx context.Context, m *vm.Machine) ([]taken, error) {
	out, err := m.Run(ctx, "sudo skerry snapshot save -o json")
	if err != nil {
		return nil, err
	}
	var all []taken
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) == 0 {
		return nil, fmt.Errorf("skerry snapshot save says %q: %w", out, err)
	}
	return all, nil
}

func listSnapshots(ctx context.Context, m *vm.Machine) ([]taken, error) {
	out, err := m.Run(ctx, "sudo skerry snapshot list -o json")
	if err != nil {
		return nil, err
	}
	var all []taken
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("skerry snapshot list says %q: %w", out, err)
	}
	return all, nil
}

// authorityOf returns a digest of a server's certificate authority and its key.
func authorityOf(ctx context.Context, m *vm.Machine) (string, error) {
	return m.Run(ctx, "sudo cat "+serverDir+"/tls/server-ca.crt "+serverDir+"/tls/client-ca.key "+serverDir+"/tls/service.key | sha256sum")
}

func sameAuthority(ctx context.Context, m *vm.Machine, want string) error {
	now, err := authorityOf(ctx, m)
	if err == nil && now != want {
		err = errors.New("the cluster has other certificate authorities, or another key of its service accounts")
	}
	return err
}

// restoreSnapshot restores one and returns what the command says.
func restoreSnapshot(ctx context.Context, m *vm.Machine, name string) error {
	out, err := m.Run(ctx, "sudo skerry snapshot restore "+name)
	if err == nil && !strings.Contains(out, "The control plane serves the restored cluster") {
		err = fmt.Errorf("it says %q", out)
	}
	return err
}

// hasMap says whether a ConfigMap is there.
func hasMap(ctx context.Context, c *vm.Cluster, namespace, name string) (bool, error) {
	_, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// asTaken checks that a cluster has what was there before its snapshot, and not what came after.
func asTaken(ctx context.Context, c *vm.Cluster, namespace string) error {
	for name, want := range map[string]bool{"before": true, "after": false} {
		there, err := hasMap(ctx, c, namespace, name)
		if err != nil {
			return err
		}
		if there != want {
			return fmt.Errorf("ConfigMap %s is there: %v, want %v", name, there, want)
		}
	}
	return nil
}
