// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/nodepassword"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/token"
	"github.com/skerry-os/skerry/daemon/version"
)

// newTaker returns what takes snapshots of this server's datastore.
func newTaker(opts Options, l layout, store *datastore.Store, id *identity, bundle *pki.Bundle) (*snapshot.Taker, error) {
	bucket, err := snapshot.NewBucket(&opts.Cluster)
	if err != nil {
		return nil, err
	}
	cluster, err := token.CAHash(bundle.ServerCAPEM())
	if err != nil {
		return nil, err
	}
	return &snapshot.Taker{
		Source:       store,
		WithPassword: id.withPassword,
		Header:       snapshot.Header{Node: opts.NodeName, Skerry: version.Skerry, Kubernetes: version.Kubernetes, Cluster: cluster},
		Work:         l.db,
		Folder:       snapshot.Folder{Dir: opts.Cluster.EtcdSnapshotDir},
		Bucket:       bucket,
		Now:          time.Now,
		Log:          opts.Log.With("component", "snapshots"),
	}, nil
}

// scheduled is what the configuration says of snapshots that nobody asks for.
func (o Options) scheduled() snapshot.Request {
	return snapshot.Request{
		Name: o.Cluster.EtcdSnapshotName, Keep: o.Cluster.EtcdSnapshotRetention, KeepS3: o.Cluster.EtcdS3Retention,
	}
}

// takeOverName frees the name of this machine's node in a cluster that was restored, where the snapshot has another node
// password for it: it is of another machine of this name, or of this one before its disk was lost.
func takeOverName(ctx context.Context, client kubernetes.Interface, opts Options) error {
	data, err := os.ReadFile(opts.NodePasswordFile)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the node makes one when it starts, which is new
	case err != nil:
		return fmt.Errorf("read this machine's node password: %w", err)
	default:
		err := nodepassword.NewStore(client).Ensure(ctx, opts.NodeName, strings.TrimSpace(string(data)))
		if !errors.Is(err, nodepassword.ErrMismatch) {
			return err
		}
	}
	err = client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, nodepassword.SecretName(opts.NodeName), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the node password that the snapshot has for this node: %w", err)
	}
	opts.Log.Info("this machine takes over the name that its node has in the snapshot", "node", opts.NodeName)
	return nil
}
