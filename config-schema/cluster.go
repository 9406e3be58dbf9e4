// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/netip"
	"slices"
	"strings"
)

// Cluster holds the keys of K3s' config.yaml, under their K3s names and with
// their K3s meaning. Lists may be written as one string; those of addresses and
// names may hold several values separated by commas.
type Cluster struct {
	// Secret that machines join the cluster with: a word of your own, or the
	// full form K10<hash>::<user>:<password> that also pins the cluster's CA.
	// Servers without one make one.
	Token Secret `yaml:"token"`
	// File that holds the token.
	TokenFile string `yaml:"token-file"`
	// Secret that agents join with, where it is not to be the token.
	AgentToken Secret `yaml:"agent-token"`
	// URL of the server to join, such as https://server-1:6443. With role: server, a
	// server of a cluster that has an embedded etcd, of which this one becomes a member.
	Server string `yaml:"server"`
	// Name of the node. The default is the hostname.
	NodeName string `yaml:"node-name"`
	// Whether an id that is the machine's own is appended to the node's name.
	WithNodeID Switch `yaml:"with-node-id"`
	// Address of the node in the cluster. The default is that of the interface
	// with the default route. In a cluster of two families, an IPv4 and an IPv6
	// address, which are given on each node.
	NodeIP CommaList `yaml:"node-ip"`
	// Addresses at which the node is reached from outside of its network. On a server
	// they are in its certificate, and the first is what the API server tells the
	// cluster, unless advertise-address says otherwise.
	NodeExternalIP CommaList `yaml:"node-external-ip"`
	// DNS names of the node inside of its network.
	NodeInternalDNS CommaList `yaml:"node-internal-dns"`
	// DNS names of the node outside of its network.
	NodeExternalDNS CommaList `yaml:"node-external-dns"`
	// Labels that the node registers with, as key=value.
	NodeLabel CommaList `yaml:"node-label"`
	// Taints that the node registers with, as key=value:effect.
	NodeTaint CommaList `yaml:"node-taint"`
	// Network of the pods, or an IPv4 and an IPv6 network. Nodes keep what they have
	// of it. The default is 10.42.0.0/16.
	ClusterCIDR CommaList `yaml:"cluster-cidr"`
	// Network of the services, of the same families as that of the pods. The default
	// is 10.43.0.0/16.
	ServiceCIDR CommaList `yaml:"service-cidr"`
	// Address of the cluster's DNS, in the network of the services. The default
	// is its tenth.
	ClusterDNS CommaList `yaml:"cluster-dns"`
	// Domain of the cluster. The default is cluster.local.
	ClusterDomain string `yaml:"cluster-domain"`
	// Further names and addresses in the API server's certificate.
	TLSSAN CommaList `yaml:"tls-san"`
	// Whether the certificate has no other names than these and the server's own,
	// whatever name a client asks for. It is always so: it may be true only.
	TLSSANSecurity Switch `yaml:"tls-san-security"`
	// Address to listen on. The default is every address.
	BindAddress string `yaml:"bind-address"`
	// Address that the API server tells the cluster. The default is the first
	// external one of the node, or else its own.
	AdvertiseAddress string `yaml:"advertise-address"`
	// Port of the API server and of joining. The default is 6443.
	HTTPSListenPort int `yaml:"https-listen-port"`
	// Port on the loopback at which an agent's own processes reach the servers.
	// The default is 6444.
	LBServerPort int `yaml:"lb-server-port"`
	// Folder of everything the cluster keeps. The default is
	// /var/lib/rancher/k3s.
	DataDir string `yaml:"data-dir"`
	// File for the administrator's kubeconfig. The default is
	// /etc/rancher/k3s/k3s.yaml.
	WriteKubeconfig string `yaml:"write-kubeconfig"`
	// Mode of that file, in quotes. The default is "0600".
	WriteKubeconfigMode Mode `yaml:"write-kubeconfig-mode"`
	// How pods of different nodes reach each other. The default is vxlan.
	FlannelBackend string `yaml:"flannel-backend" enum:"none,vxlan,host-gw"`
	// Whether pods' IPv6 traffic leaves the cluster with the address of their node.
	// With the default, false, their own addresses must be routed back to the nodes.
	FlannelIPv6Masq Switch `yaml:"flannel-ipv6-masq"`
	// Whether the traffic between nodes goes to their external addresses.
	FlannelExternalIP Switch `yaml:"flannel-external-ip"`
	// Network interface of the traffic between nodes.
	FlannelIface string `yaml:"flannel-iface"`
	// File with flannel's configuration, in JSON, instead of the one that is made of
	// cluster-cidr and flannel-backend.
	FlannelConf string `yaml:"flannel-conf"`
	// Packaged components to leave out, and to remove where they are.
	Disable CommaList `yaml:"disable" enum:"coredns,servicelb,traefik,local-storage,metrics-server,runtimes"`
	// File that pods have their name servers from. The default is what DHCP and the
	// network's definition say, as far as pods can reach it.
	ResolvConf string `yaml:"resolv-conf"`
	// Whether the kubelet refuses to start with other kernel settings than it wants,
	// instead of changing them.
	ProtectKernelDefaults Switch `yaml:"protect-kernel-defaults"`
	// Configuration of the programs that the kubelet gets credentials of registries
	// from. The default is /var/lib/rancher/credentialprovider/config.yaml, if it is
	// there.
	ImageCredentialProviderConfig string `yaml:"image-credential-provider-config"`
	// Folder of those programs. The default is
	// /var/lib/rancher/credentialprovider/bin.
	ImageCredentialProviderBinDir string `yaml:"image-credential-provider-bin-dir"`
	// Whether a registry that has mirrors is never asked itself.
	DisableDefaultRegistryEndpoint Switch `yaml:"disable-default-registry-endpoint"`
	// Whether containers that run as another user than root may use the devices that
	// they are given.
	NonrootDevices Switch `yaml:"nonroot-devices"`
	// How containerd keeps images: overlayfs is the only way there is.
	Snapshotter string `yaml:"snapshotter" enum:"overlayfs"`
	// Whether an agent goes straight to the server in its configuration, instead of
	// to any server that answers, through a load balancer of its own. That server, or
	// what stands before several, must always be there then.
	DisableAPIServerLB Switch `yaml:"disable-apiserver-lb"`
	// Whether the journal has what is of interest to developers only.
	Debug Switch `yaml:"debug"`
	// How much the components of Kubernetes tell in the journal, from 0 to 10.
	V int `yaml:"v"`
	// The same for single source files, such as proxier=4,kubelet=3.
	VModule string `yaml:"vmodule"`
	// Further arguments of the kubelet, as name=value. name+=value and name-=value
	// add to what it is given anyway, here and in the keys below. Its own config and
	// config-dir come after what Skerry sets.
	KubeletArg ArgList `yaml:"kubelet-arg"`
	// Further arguments of kube-proxy.
	KubeProxyArg ArgList `yaml:"kube-proxy-arg"`
	// Further arguments of kube-apiserver.
	KubeAPIServerArg ArgList `yaml:"kube-apiserver-arg"`
	// Further arguments of kube-controller-manager.
	KubeControllerManagerArg ArgList `yaml:"kube-controller-manager-arg"`
	// Further arguments of kube-scheduler.
	KubeSchedulerArg ArgList `yaml:"kube-scheduler-arg"`
	// Ports for services of type NodePort. The default is 30000-32767.
	ServiceNodePortRange string `yaml:"service-node-port-range"`
	// How kube-apiserver reaches nodes and pods. With agent, kubelets through the
	// tunnels that nodes open, and everything else directly; pod and cluster reach
	// pods through them, too, and find their node by the network it has for pods,
	// or by watching all pods; disabled uses no tunnel. Nodes take up another mode
	// when they are started again. The default is agent.
	EgressSelectorMode string `yaml:"egress-selector-mode" enum:"agent,pod,cluster,disabled"`
	// Whether this server runs no pods: no kubelet, no containerd, no Node. Webhooks
	// and aggregated APIs that run as pods then need the egress-selector-mode pod
	// or cluster.
	DisableAgent Switch `yaml:"disable-agent"`
	// Whether another kube-controller-manager does its work.
	DisableControllerManager Switch `yaml:"disable-controller-manager"`
	// Whether another scheduler does its work.
	DisableScheduler Switch `yaml:"disable-scheduler"`
	// Whether no node of the cluster runs kube-proxy, for a pod network that does
	// its work.
	DisableKubeProxy Switch `yaml:"disable-kube-proxy"`
	// Whether NetworkPolicies are left to others. This release has no controller of
	// them: it may be true only, and changes nothing.
	DisableNetworkPolicy Switch `yaml:"disable-network-policy"`
	// Whether HelmCharts are left to others. This release has no controller of
	// them: it may be true only, and changes nothing.
	DisableHelmController Switch `yaml:"disable-helm-controller"`
	// Whether the controller of node-external-ip, node-internal-dns and
	// node-external-dns is left out, for that of a cloud. Nodes then have the
	// addresses that their kubelets know.
	DisableCloudController Switch `yaml:"disable-cloud-controller"`
	// Database of the cluster, which servers share: postgres://, mysql://, nats://, or http(s):// for etcd. The default is
	// SQLite in the data folder, for one server.
	DatastoreEndpoint Secret `yaml:"datastore-endpoint"`
	// File of the authorities that the database's certificate is checked with.
	DatastoreCAFile string `yaml:"datastore-cafile"`
	// File of the certificate that this server shows the database.
	DatastoreCertFile string `yaml:"datastore-certfile"`
	// File of that certificate's key.
	DatastoreKeyFile string `yaml:"datastore-keyfile"`
	// Whether this is the first server of a cluster that its servers keep themselves,
	// in an etcd whose members they are; the others have its URL as server. It has no
	// meaning any more once the cluster is there.
	ClusterInit Switch `yaml:"cluster-init"`
	// Whether this server forgets all other members of its etcd, whose majority is lost for good, and goes on alone with the
	// data it has. It is done once; remove the key afterwards. The others must not be started again before their
	// server/db/etcd in the data folder is removed; then they join anew.
	ClusterReset Switch `yaml:"cluster-reset"`
	// Further arguments of this server's etcd member, as name=value.
	EtcdArg ArgList `yaml:"etcd-arg"`
	// Whether the metrics of the etcd member are served on the node's address too, at
	// port 2381, to whoever asks.
	EtcdExposeMetrics Switch `yaml:"etcd-expose-metrics"`
	// Whether no snapshots of the datastore are taken by themselves. They are of a datastore on this machine only; others
	// are backed up with their own tools.
	EtcdDisableSnapshots Switch `yaml:"etcd-disable-snapshots"`
	// When snapshots are taken, as in crontab(5), in the machine's time zone, or as @daily or @every 6h. The default is
	// 0 */12 * * *, at noon and at midnight.
	EtcdSnapshotScheduleCron string `yaml:"etcd-snapshot-schedule-cron"`
	// How many of them are kept on disk. The default is 5.
	EtcdSnapshotRetention int `yaml:"etcd-snapshot-retention"`
	// Folder of snapshots. The default is server/db/snapshots in the data folder.
	EtcdSnapshotDir string `yaml:"etcd-snapshot-dir"`
	// First part of their names, before the node's name and the time. The default is etcd-snapshot.
	EtcdSnapshotName string `yaml:"etcd-snapshot-name"`
	// Whether they are compressed. They always are: it may be true only.
	EtcdSnapshotCompress Switch `yaml:"etcd-snapshot-compress"`
	// Whether snapshots are kept in a bucket of S3, or of what speaks it, too.
	EtcdS3 Switch `yaml:"etcd-s3"`
	// Name or address of its server, with the port if it isn't the usual one. The default is s3.amazonaws.com.
	EtcdS3Endpoint string `yaml:"etcd-s3-endpoint"`
	// File of the authorities that the server's certificate is checked with.
	EtcdS3EndpointCA string `yaml:"etcd-s3-endpoint-ca"`
	// Whether any certificate of the server is taken.
	EtcdS3SkipSSLVerify Switch `yaml:"etcd-s3-skip-ssl-verify"`
	// Whether it is reached without TLS.
	EtcdS3Insecure Switch `yaml:"etcd-s3-insecure"`
	// Access key, and with it the secret key. The default is AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of
	// skerry.environment, or else the role that the machine has in AWS.
	EtcdS3AccessKey Secret `yaml:"etcd-s3-access-key"`
	// Secret key.
	EtcdS3SecretKey Secret `yaml:"etcd-s3-secret-key"`
	// Session token of keys that expire.
	EtcdS3SessionToken Secret `yaml:"etcd-s3-session-token"`
	// Name of the bucket, which must be there.
	EtcdS3Bucket string `yaml:"etcd-s3-bucket"`
	// Whether the bucket is a part of the server's name (dns) or of the path. The default, auto, goes by the server.
	EtcdS3BucketLookupType string `yaml:"etcd-s3-bucket-lookup-type" enum:"auto,dns,path"`
	// Region of the bucket. The default is us-east-1.
	EtcdS3Region string `yaml:"etcd-s3-region"`
	// Folder in the bucket. The default is its top.
	EtcdS3Folder string `yaml:"etcd-s3-folder"`
	// How many scheduled snapshots are kept there. The default is 5.
	EtcdS3Retention int `yaml:"etcd-s3-retention"`
	// How long one transfer may take. The default is 5m.
	EtcdS3Timeout Seconds `yaml:"etcd-s3-timeout"`
	// Whether Secrets are encrypted in the datastore. It says how a cluster begins, and a server whose Secrets were
	// plain until now encrypts them; from then on, skerry secrets-encrypt changes it, and a server that has false here
	// does not start on a cluster that encrypts. The default is true.
	SecretsEncryption *Switch `yaml:"secrets-encryption"`
	// How new keys encrypt Secrets. The default is secretbox.
	SecretsEncryptionProvider string `yaml:"secrets-encryption-provider" enum:"secretbox,aescbc"`
}

func (c *Cluster) check(s scope) {
	c.checkTokens(s)
	c.checkNode(s)
	c.checkNetworks(s)
	c.checkListeners(s)
	c.checkDisabled(s)
	c.checkVerbosity(s)
	c.checkPaths(s)
	c.checkSnapshots(s)
	for key, args := range map[string]ArgList{
		"kubelet-arg":                 c.KubeletArg,
		"kube-proxy-arg":              c.KubeProxyArg,
		"kube-apiserver-arg":          c.KubeAPIServerArg,
		"kube-controller-manager-arg": c.KubeControllerManagerArg,
		"kube-scheduler-arg":          c.KubeSchedulerArg,
		"etcd-arg":                    c.EtcdArg,
	} {
		for i, arg := range args {
			checkArg(s, s.item(key, i), arg)
		}
	}
	c.checkEncryption(s)
}

// encryptionArg is kube-apiserver's argument for a configuration like the one that is made for secrets-encryption.
const encryptionArg = "encryption-provider-config"

// OwnEncryption is whether the user's arguments of kube-apiserver say how it encrypts.
func (c *Cluster) OwnEncryption() bool {
	return slices.ContainsFunc(c.KubeAPIServerArg, isEncryptionArg)
}

func isEncryptionArg(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	return strings.ReplaceAll(strings.TrimRight(name, "+-"), "_", "-") == encryptionArg
}

func (c *Cluster) checkEncryption(s scope) {
	if i := slices.IndexFunc(c.KubeAPIServerArg, isEncryptionArg); i >= 0 && (c.SecretsEncryption == nil || bool(*c.SecretsEncryption)) {
		s.problem(s.item("kube-apiserver-arg", i), quote(encryptionArg)+" is given by secrets-encryption",
			"remove it, or set secrets-encryption: false")
	}
}

func (c *Cluster) checkTokens(s scope) {
	if s.has("token") && s.has("token-file") {
		s.problem(s.at("token-file"), "token and token-file are both given", "remove one")
	}
	if c.Server != "" {
		s.serverURL("server", c.Server)
	}
	c.checkSecrets(s)
}

func (c *Cluster) checkSecrets(s scope) {
	checkToken(s, "token", c.Token)
	checkToken(s, "agent-token", c.AgentToken)
	if endpoint := c.DatastoreEndpoint.Reveal(); endpoint != "" {
		scheme, _, ok := strings.Cut(endpoint, "://")
		if !ok || !datastores[scheme] {
			s.problem(s.at("datastore-endpoint"), "is not a datastore of this release",
				"begin it with postgres://, mysql://, nats://, http://, https:// (for etcd) or sqlite://")
		}
	}
}

// datastores are the schemes of datastore-endpoint.
var datastores = set("sqlite", "postgres", "postgresql", "mysql", "nats", "http", "https")

func (c *Cluster) checkNode(s scope) {
	if c.NodeName != "" {
		s.hostname("node-name", c.NodeName, 253)
	}
	s.addresses("node-ip", c.NodeIP)
	for i, text := range c.NodeExternalIP {
		if _, err := netip.ParseAddr(text); err != nil {
			s.problem(s.item("node-external-ip", i), quote(text)+" is not an IP address", "")
		}
	}
	for key, names := range map[string]CommaList{"node-internal-dns": c.NodeInternalDNS, "node-external-dns": c.NodeExternalDNS} {
		for i, name := range names {
			if message, hint := hostnameProblem(name, 253); message != "" {
				s.problem(s.item(key, i), message, hint)
			}
		}
	}
	for i, label := range c.NodeLabel {
		checkLabel(s, s.item("node-label", i), label)
	}
	for i, taint := range c.NodeTaint {
		checkTaint(s, s.item("node-taint", i), taint)
	}
}

func (c *Cluster) checkListeners(s scope) {
	if c.BindAddress != "" {
		s.address("bind-address", c.BindAddress)
	}
	if c.AdvertiseAddress != "" {
		s.address("advertise-address", c.AdvertiseAddress)
	}
	if s.has("https-listen-port") && (c.HTTPSListenPort < 1 || c.HTTPSListenPort > 65534) {
		// The API server itself listens on the port above.
		s.problem(s.at("https-listen-port"), "must be between 1 and 65534", "")
	}
	if s.has("lb-server-port") && (c.LBServerPort < 1 || c.LBServerPort > 65535) {
		s.problem(s.at("lb-server-port"), "must be between 1 and 65535", "")
	}
	if c.ServiceNodePortRange != "" {
		s.portRange("service-node-port-range", c.ServiceNodePortRange)
	}
	for i, name := range c.TLSSAN {
		s.nameOrAddress(s.item("tls-san", i), name)
	}
	if c.FlannelIface != "" && (len(c.FlannelIface) > 15 || strings.ContainsAny(c.FlannelIface, "/ \t\n\x00")) {
		s.problem(s.at("flannel-iface"), quote(c.FlannelIface)+" is not the name of a network interface", "")
	}
}

func (c *Cluster) checkPaths(s scope) {
	for key, name := range map[string]string{
		"token-file":                        c.TokenFile,
		"data-dir":                          c.DataDir,
		"write-kubeconfig":                  c.WriteKubeconfig,
		"flannel-conf":                      c.FlannelConf,
		"resolv-conf":                       c.ResolvConf,
		"image-credential-provider-config":  c.ImageCredentialProviderConfig,
		"image-credential-provider-bin-dir": c.ImageCredentialProviderBinDir,
		"datastore-cafile":                  c.DatastoreCAFile,
		"datastore-certfile":                c.DatastoreCertFile,
		"datastore-keyfile":                 c.DatastoreKeyFile,
		"etcd-snapshot-dir":                 c.EtcdSnapshotDir,
		"etcd-s3-endpoint-ca":               c.EtcdS3EndpointCA,
	} {
		if name != "" {
			s.absolute(key, name)
		}
	}
}

func (*Cluster) unsupported(key string) (message, hint string) {
	if _, ok := k3sKeys[key]; !ok {
		return "", ""
	}
	return "known K3s key, not supported by this release", k3sNotes[key]
}
