// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"testing"
)

func TestWarnings(t *testing.T) {
	const unreachable = "disable-agent: this server is not on the network of the pods, and kube-apiserver can't reach " +
		"webhooks and aggregated APIs that run as pods; set egress-selector-mode to cluster or pod"
	for text, want := range map[string][]string{
		"{}":                               nil,
		"{disable-agent: false}":           nil,
		"{node-label: a=b}":                nil,
		"{egress-selector-mode: disabled}": nil,
		"{kube-scheduler-arg: v=2}":        nil,
		"{disable-agent: true}":            {unreachable},
		"{disable-agent: true, egress-selector-mode: agent}":    {unreachable},
		"{disable-agent: true, egress-selector-mode: disabled}": {unreachable},
		"{disable-agent: true, egress-selector-mode: pod}":      nil,
		"{disable-agent: true, egress-selector-mode: cluster}":  nil,
		"{disable-agent: true, egress-selector-mode: pod, node-label: a=b, kubelet-arg: v=2}": {
			"disable-agent: nothing reads node-label, kubelet-arg on this machine"},
		"{disable-agent: true, disable-kube-proxy: true, egress-selector-mode: pod, kube-proxy-arg: v=2}": {
			"disable-agent: nothing reads kube-proxy-arg on this machine"},
		"{disable-kube-proxy: true, kube-proxy-arg: v=2}": {
			"disable-kube-proxy: nothing reads kube-proxy-arg on this machine"},
		"{disable-scheduler: true, kube-scheduler-arg: v=2, disable-controller-manager: true, kube-controller-manager-arg: v=2}": {
			"disable-scheduler: nothing reads kube-scheduler-arg on this machine",
			"disable-controller-manager: nothing reads kube-controller-manager-arg on this machine"},
		"{server: 'https://a:6443', token: t, node-label: a=b}":                      nil, // an agent
		"{etcd-snapshot-retention: 3}":                                               nil,
		"{etcd-snapshot-retention: 3, datastore-endpoint: 'sqlite:///var/lib/x.db'}": nil,
		"{etcd-snapshot-retention: 3, datastore-endpoint: 'postgres://a:b@c/d'}": {
			"datastore-endpoint: nothing reads etcd-snapshot-retention on this machine"},
		"{etcd-snapshot-retention: 3, datastore-endpoint: {file: /etc/rancher/endpoint}}": {
			"datastore-endpoint: nothing reads etcd-snapshot-retention on this machine"},
		"{etcd-s3-bucket: backups, etcd-s3-folder: a}": {
			"without etcd-s3: true: nothing reads etcd-s3-bucket, etcd-s3-folder on this machine"},
	} {
		c, problems := Parse("user-data", []byte("#cloud-config\nskerry: {cluster: "+text+"}\n"))
		if len(problems) > 0 {
			t.Fatalf("%s: %v", text, problems)
		}
		if got := c.Skerry.Warnings(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// TestIdleKeysAreKeys: a key that is renamed is renamed in all lists.
func TestIdleKeysAreKeys(t *testing.T) {
	keys := clusterKeys()
	for _, key := range slices.Concat(nodeKeys, schedulerKeys, controllerManagerKeys, kubeProxyKeys, cloudKeys, snapshotKeys, bucketKeys) {
		if !slices.Contains(keys, key) {
			t.Errorf("%q is no key of the cluster section", key)
		}
	}
	for _, a := range absent {
		if !slices.Contains(keys, a.key) {
			t.Errorf("%q is no key of the cluster section", a.key)
		}
	}
}
