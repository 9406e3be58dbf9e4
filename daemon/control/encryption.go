// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"strings"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/encryption"
)

const (
	// encryptionLease is of the server that replaces keys of Secrets.
	encryptionLease = "skerry-secrets-encryption"
	// reloadInterval is how often kube-apiserver looks whether its keys have changed. Upstream's is a minute, for which each
	// stage of a change would wait.
	reloadInterval = time.Second
	// loadedMetric is how kube-apiserver tells which configuration it uses.
	loadedMetric = "apiserver_encryption_config_controller_last_config_info"
)

func encrypts(c configschema.Cluster) bool {
	return c.SecretsEncryption == nil || bool(*c.SecretsEncryption)
}

func newKeys(opts Options, store *datastore.Store, client *etcdkube.Client, i *identity) *encryption.Keys {
	controller.EncryptionConfigFileChangePollDuration = reloadInterval
	return encryption.New(encryption.Options{
		Enabled:  encrypts(opts.Cluster),
		Provider: opts.Cluster.SecretsEncryptionProvider,
		Foreign:  opts.Cluster.OwnEncryption(),
		Server:   opts.NodeName,
		Shared:   store.Shared,
		Store:    client,
		// Everything but etcd is behind kine.
		KeepsPrevious: store.Kind != "etcd",
		Fetch:         i.fetch,
		Change:        i.change,
		Loaded:        loadedKeys,
		Log:           opts.Log.With("component", "encryption"),
	})
}

// loadedKeys asks this process's kube-apiserver.
func loadedKeys() (string, error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	for _, family := range families { // what could be gathered is there in spite of an error
		if family.GetName() != loadedMetric || len(family.GetMetric()) == 0 {
			continue
		}
		for _, label := range family.GetMetric()[0].GetLabel() {
			if label.GetName() == "hash" {
				return label.GetValue(), nil
			}
		}
	}
	if err != nil {
		return "", fmt.Errorf("gather metrics: %w", err)
	}
	return "", nil
}

// secretsPrefix is where kube-apiserver keeps Secrets.
func secretsPrefix(root string) string { return "/" + strings.Trim(root, "/") + "/secrets/" }

// unthrottled is a client for writing every Secret anew.
func unthrottled(config *rest.Config) (kubernetes.Interface, error) {
	config.QPS = -1
	return kubernetes.NewForConfig(config)
}
