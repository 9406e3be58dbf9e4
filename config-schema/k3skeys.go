// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"maps"
	"reflect"
	"slices"
)

// k3sRole is where K3s has a key. (Its table: docs.k3s.io/cli/server, /cli/agent.)
type k3sRole int

const (
	onServer k3sRole = 1
	onAgent  k3sRole = 2
	onBoth   k3sRole = 3
)

// k3sKeys are all the keys of K3s' config.yaml. Those that Cluster has no field
// for are refused by name, instead of as unknown.
var k3sKeys = map[string]k3sRole{
	"airgap-extra-registry":             onBoth,
	"alsologtostderr":                   onBoth,
	"bind-address":                      onBoth,
	"config":                            onBoth,
	"container-runtime-endpoint":        onBoth,
	"data-dir":                          onBoth,
	"debug":                             onBoth,
	"default-runtime":                   onBoth,
	"disable-default-registry-endpoint": onBoth,
	"docker":                            onBoth,
	"enable-pprof":                      onBoth,
	"flannel-cni-conf":                  onBoth,
	"flannel-conf":                      onBoth,
	"flannel-iface":                     onBoth,
	"image-credential-provider-bin-dir": onBoth,
	"image-credential-provider-config":  onBoth,
	"image-service-endpoint":            onBoth,
	"kube-proxy-arg":                    onBoth,
	"kubelet-arg":                       onBoth,
	"lb-server-port":                    onBoth,
	"log":                               onBoth,
	"node-external-dns":                 onBoth,
	"node-external-ip":                  onBoth,
	"node-internal-dns":                 onBoth,
	"node-ip":                           onBoth,
	"node-label":                        onBoth,
	"node-name":                         onBoth,
	"node-taint":                        onBoth,
	"nonroot-devices":                   onBoth,
	"pause-image":                       onBoth,
	"prefer-bundled-bin":                onBoth,
	"private-registry":                  onBoth,
	"protect-kernel-defaults":           onBoth,
	"resolv-conf":                       onBoth,
	"rootless":                          onBoth,
	"selinux":                           onBoth,
	"server":                            onBoth,
	"snapshotter":                       onBoth,
	"token":                             onBoth,
	"token-file":                        onBoth,
	"v":                                 onBoth,
	"vmodule":                           onBoth,
	"vpn-auth":                          onBoth,
	"vpn-auth-file":                     onBoth,
	"with-node-id":                      onBoth,
	"advertise-address":                 onServer,
	"advertise-port":                    onServer,
	"agent-token":                       onServer,
	"agent-token-file":                  onServer,
	"apiserver-bind-address":            onServer,
	"apiserver-port":                    onServer,
	"cluster-cidr":                      onServer,
	"cluster-dns":                       onServer,
	"cluster-domain":                    onServer,
	"cluster-init":                      onServer,
	"cluster-reset":                     onServer,
	"cluster-reset-restore-path":        onServer,
	"datastore-cafile":                  onServer,
	"datastore-certfile":                onServer,
	"datastore-endpoint":                onServer,
	"datastore-keyfile":                 onServer,
	"default-local-storage-path":        onServer,
	"disable":                           onServer,
	"disable-agent":                     onServer,
	"disable-apiserver":                 onServer,
	"disable-cloud-controller":          onServer,
	"disable-controller-manager":        onServer,
	"disable-etcd":                      onServer,
	"disable-helm-controller":           onServer,
	"disable-kube-proxy":                onServer,
	"disable-network-policy":            onServer,
	"disable-scheduler":                 onServer,
	"egress-selector-mode":              onServer,
	"embedded-registry":                 onServer,
	"etcd-arg":                          onServer,
	"etcd-disable-snapshots":            onServer,
	"etcd-expose-metrics":               onServer,
	"etcd-s3":                           onServer,
	"etcd-s3-access-key":                onServer,
	"etcd-s3-bucket":                    onServer,
	"etcd-s3-bucket-lookup-type":        onServer,
	"etcd-s3-config-secret":             onServer,
	"etcd-s3-endpoint":                  onServer,
	"etcd-s3-endpoint-ca":               onServer,
	"etcd-s3-folder":                    onServer,
	"etcd-s3-insecure":                  onServer,
	"etcd-s3-proxy":                     onServer,
	"etcd-s3-region":                    onServer,
	"etcd-s3-retention":                 onServer,
	"etcd-s3-secret-key":                onServer,
	"etcd-s3-session-token":             onServer,
	"etcd-s3-skip-ssl-verify":           onServer,
	"etcd-s3-timeout":                   onServer,
	"etcd-snapshot-compress":            onServer,
	"etcd-snapshot-dir":                 onServer,
	"etcd-snapshot-name":                onServer,
	"etcd-snapshot-reconcile-interval":  onServer,
	"etcd-snapshot-retention":           onServer,
	"etcd-snapshot-schedule-cron":       onServer,
	"flannel-backend":                   onServer,
	"flannel-external-ip":               onServer,
	"flannel-ipv6-masq":                 onServer,
	"helm-controller-arg":               onServer,
	"helm-job-image":                    onServer,
	"https-listen-port":                 onServer,
	"kine-tls":                          onServer,
	"kube-apiserver-arg":                onServer,
	"kube-cloud-controller-arg":         onServer,
	"kube-cloud-controller-manager-arg": onServer,
	"kube-controller-arg":               onServer,
	"kube-controller-manager-arg":       onServer,
	"kube-scheduler-arg":                onServer,
	"secrets-encryption":                onServer,
	"secrets-encryption-provider":       onServer,
	"service-cidr":                      onServer,
	"service-node-port-range":           onServer,
	"servicelb-namespace":               onServer,
	"supervisor-metrics":                onServer,
	"supervisor-port":                   onServer,
	"system-default-registry":           onServer,
	"tls-san":                           onServer,
	"tls-san-security":                  onServer,
	"write-kubeconfig":                  onServer,
	"write-kubeconfig-group":            onServer,
	"write-kubeconfig-mode":             onServer,
	"write-kubeconfig-name":             onServer,
	"disable-apiserver-lb":              onAgent,
}

// k3sNotes say of each key that is not supported why, or what to use instead. The
// text completes "not supported by this release".
var k3sNotes = map[string]string{
	"advertise-port":                    "servers are told of at https-listen-port",
	"agent-token-file":                  "use agent-token, with {file: …}",
	"airgap-extra-registry":             "images that come with the machine have one name; use the mirrors of skerry.registries",
	"alsologtostderr":                   "logs go to the journal",
	"apiserver-bind-address":            "kube-apiserver is reached through bind-address and https-listen-port",
	"apiserver-port":                    "kube-apiserver is reached through https-listen-port",
	"cluster-reset-restore-path":        "use skerry snapshot restore",
	"config":                            "this file is the configuration",
	"container-runtime-endpoint":        "containerd is part of the image",
	"default-local-storage-path":        "volumes are below storage in data-dir",
	"default-runtime":                   "crun is the only runtime in the image; another is named by a RuntimeClass",
	"disable-apiserver":                 "a server's database is for its own API server only: leave the key out",
	"disable-etcd":                      "every server of a cluster with an embedded etcd is a member of it: leave the key out",
	"docker":                            "containerd is part of the image",
	"embedded-registry":                 "nodes don't share images; use the mirrors of skerry.registries",
	"enable-pprof":                      "use profiling=true in kube-apiserver-arg, which is off otherwise",
	"etcd-s3-config-secret":             "use the other keys of etcd-s3: a Secret could not be read where a cluster is restored",
	"etcd-s3-proxy":                     "use HTTPS_PROXY in skerry.environment",
	"etcd-snapshot-reconcile-interval":  "skerry snapshot list looks at the snapshots themselves: there are no records to reconcile",
	"flannel-cni-conf":                  "pods are connected by plugins of the image, with the network that flannel gives the node; use flannel-backend: none for a network of your own",
	"helm-controller-arg":               "there is no Helm controller",
	"helm-job-image":                    "there is no Helm controller",
	"image-service-endpoint":            "containerd is part of the image",
	"kine-tls":                          "the datastore's socket is root's only",
	"kube-cloud-controller-arg":         "there is no cloud controller",
	"kube-cloud-controller-manager-arg": "there is no cloud controller",
	"kube-controller-arg":               "use kube-controller-manager-arg",
	"log":                               "logs go to the journal",
	"pause-image":                       "the pause image is part of the image",
	"prefer-bundled-bin":                "all programs are part of the image",
	"private-registry":                  "use skerry.registries, which has the keys of that file",
	"rootless":                          "the machine belongs to Kubernetes",
	"selinux":                           "SELinux isn't in the image",
	"servicelb-namespace":               "there is no load balancer for Services",
	"supervisor-metrics":                "the supervisor has no metrics of its own",
	"supervisor-port":                   "nodes join at https-listen-port",
	"system-default-registry":           "images of the system come with the machine; use the mirrors of skerry.registries",
	"vpn-auth":                          "there is no VPN in the image; skerry.network has WireGuard tunnels",
	"vpn-auth-file":                     "there is no VPN in the image; skerry.network has WireGuard tunnels",
	"write-kubeconfig-group":            "the file is root's, with write-kubeconfig-mode",
	"write-kubeconfig-name":             "the context is called default",
}

// k3sDifferences say of keys that are supported what is other than in K3s.
var k3sDifferences = map[string]string{
	"bind-address":                "on servers",
	"datastore-endpoint":          "SQLite, PostgreSQL, MySQL or MariaDB, etcd, and NATS",
	"cluster-reset":               "the server goes on at once; the key has no effect then until it is removed",
	"disable-helm-controller":     "true only: there is none",
	"disable-network-policy":      "true only: there is none",
	"egress-selector-mode":        "in mode cluster, pods on the host's network are reached by the ports that their containers declare",
	"etcd-disable-snapshots":      "SQLite has snapshots, too",
	"etcd-snapshot-compress":      "true only: they always are",
	"flannel-backend":             "vxlan, host-gw or none",
	"node-ip":                     "in a cluster of two families, IPv4 first",
	"cluster-cidr":                "IPv4 first",
	"service-cidr":                "IPv4 first",
	"protect-kernel-defaults":     "the image has the settings that the kubelet wants",
	"secrets-encryption":          "true by default; of a cluster that exists, skerry secrets-encrypt changes it",
	"secrets-encryption-provider": "secretbox by default",
	"server":                      "makes the machine an agent, unless role: server is set",
	"snapshotter":                 "overlayfs",
	"tls-san-security":            "true only",
	"disable":                     "the components that there are: coredns, local-storage, metrics-server, runtimes",
	"disable-apiserver-lb":        "the tunnels of the node go to all servers all the same",
	"write-kubeconfig":            "below /etc/rancher, /state or /var",
	"kube-proxy-arg":              "kube-proxy uses nftables unless proxy-mode says otherwise",
}

// K3sKey is what becomes of a key of K3s' config.yaml.
type K3sKey struct {
	Name            string
	Servers, Agents bool // where K3s has it
	Supported       bool
	// Note says what is different, or why the key is not supported.
	Note string
}

// K3sKeys returns all keys of K3s' config.yaml, by name.
func K3sKeys() []K3sKey {
	var all []K3sKey
	supported := clusterKeys()
	for _, name := range slices.Sorted(maps.Keys(k3sKeys)) {
		role := k3sKeys[name]
		key := K3sKey{Name: name, Servers: role&onServer != 0, Agents: role&onAgent != 0, Note: k3sNotes[name]}
		if key.Supported = slices.Contains(supported, name); key.Supported {
			key.Note = k3sDifferences[name]
		}
		all = append(all, key)
	}
	return all
}

// clusterKeys are the keys that Cluster implements, in its order.
func clusterKeys() []string {
	t := reflect.TypeFor[Cluster]()
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("yaml")
	}
	return keys
}
