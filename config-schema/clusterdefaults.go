// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"time"
)

// K3s' defaults.
const (
	DefaultDataDir         = "/var/lib/rancher/k3s"
	DefaultHTTPSListenPort = 6443
	DefaultLBServerPort    = 6444
	DefaultKubeconfig      = "/etc/rancher/k3s/k3s.yaml"

	defaultClusterCIDR = "10.42.0.0/16"
	defaultServiceCIDR = "10.43.0.0/16"
	// dnsOffset is the place of the cluster's DNS in the network of the services.
	dnsOffset = 10
)

// WithDefaults returns a copy with defaults for what is not set: K3s', but that Secrets are encrypted. An agent
// reads what concerns the whole cluster from its server instead.
func (c *Cluster) WithDefaults() (Cluster, error) {
	full := *c
	setDefault(&full.DataDir, DefaultDataDir)
	setDefault(&full.HTTPSListenPort, DefaultHTTPSListenPort)
	setDefault(&full.LBServerPort, DefaultLBServerPort)
	setDefault(&full.WriteKubeconfig, DefaultKubeconfig)
	setDefault(&full.WriteKubeconfigMode, 0o600)
	setDefault(&full.ClusterDomain, "cluster.local")
	setDefault(&full.FlannelBackend, "vxlan")
	setDefault(&full.ServiceNodePortRange, "30000-32767")
	setDefault(&full.EgressSelectorMode, "agent")
	setDefault(&full.EtcdSnapshotScheduleCron, "0 */12 * * *")
	setDefault(&full.EtcdSnapshotRetention, 5)
	setDefault(&full.EtcdSnapshotDir, filepath.Join(full.DataDir, "server", "db", "snapshots"))
	setDefault(&full.EtcdSnapshotName, "etcd-snapshot")
	setDefault(&full.EtcdS3Endpoint, "s3.amazonaws.com")
	setDefault(&full.EtcdS3Region, "us-east-1")
	setDefault(&full.EtcdS3Retention, 5)
	setDefault(&full.EtcdS3Timeout, Seconds(5*time.Minute))
	if full.SecretsEncryption == nil {
		encrypted := Switch(true)
		full.SecretsEncryption = &encrypted
	}
	setDefault(&full.SecretsEncryptionProvider, "secretbox")
	if len(full.ClusterCIDR) == 0 {
		full.ClusterCIDR = CommaList{defaultClusterCIDR}
	}
	if len(full.ServiceCIDR) == 0 {
		full.ServiceCIDR = CommaList{defaultServiceCIDR}
	}
	if len(full.ClusterDNS) == 0 {
		full.ClusterDNS = make(CommaList, len(full.ServiceCIDR))
		for i, cidr := range full.ServiceCIDR {
			addr, err := AddressAt(cidr, dnsOffset)
			if err != nil {
				return Cluster{}, fmt.Errorf("address of the cluster's DNS in service-cidr %s: %w", cidr, err)
			}
			full.ClusterDNS[i] = addr.String()
		}
	}
	return full, nil
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// AddressAt returns the nth address of a network, counting its base as 0: the
// first of the service network is the API server's, the tenth the DNS's.
func AddressAt(cidr string, n int) (netip.Addr, error) {
	net, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Addr{}, err
	}
	addr := net.Masked().Addr()
	for range n {
		addr = addr.Next()
	}
	return addr, nil
}
