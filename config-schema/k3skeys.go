// SPDX-License-Identifier: Apache-2.0

package configschema

import "reflect"

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

// k3sNotes say why a key is not supported, or what to use instead, where there
// is more to say than that it isn't there yet.
var k3sNotes = map[string]string{
	"agent-token-file":           "use agent-token",
	"config":                     "this file is the configuration",
	"container-runtime-endpoint": "containerd is part of the image",
	"disable-agent":              "a server of this release always runs pods",
	"docker":                     "containerd is part of the image",
	"log":                        "logs go to the journal",
	"alsologtostderr":            "logs go to the journal",
	"pause-image":                "the pause image is part of the image",
	"prefer-bundled-bin":         "all programs are part of the image",
	"protect-kernel-defaults":    "the image sets the kubelet's kernel settings",
	"rootless":                   "the machine belongs to Kubernetes",
	"v":                          "use debug",
	"selinux":                    "SELinux isn't in the image",
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
