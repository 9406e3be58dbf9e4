// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/tests/vm"
)

// The rival is the same Kubernetes as upstream runs it: its six programs, and etcd, each a process of its own. It runs on
// a machine of the same size from the same image, with the same containerd; systemd starts it where it would start ours.
// Its programs are on a second disk, neither compressed nor verified, which is to its advantage, as is that etcd is
// spoken to without TLS, that its pods get no network between nodes, and that images are imported only once it is Ready.

// rivalPrograms are what `make rival` builds.
var rivalPrograms = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}

const (
	rivalLabel = "rival"
	rivalMount = "/run/rival"
	// Networks, as the add-ons have them.
	podCIDR     = "10.42.0.0/16"
	serviceCIDR = "10.43.0.0/16"
)

// rivalDisk makes an ext4 image with the programs, certificates and configuration of the rival, and returns the admin
// kubeconfig for it. Programs are taken from a folder; work is a folder for everything else.
func rivalDisk(ctx context.Context, programs, work string, address net.IP) (disk string, kubeconfig []byte, err error) {
	tree := filepath.Join(work, "tree")
	if err := os.RemoveAll(work); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(filepath.Join(tree, "bin"), 0o755); err != nil {
		return "", nil, err
	}
	for _, name := range rivalPrograms {
		if err := os.Link(filepath.Join(programs, name), filepath.Join(tree, "bin", name)); err != nil {
			return "", nil, fmt.Errorf("the rival's %s: %w; run `make rival`", name, err)
		}
	}
	if kubeconfig, err = rivalIdentity(tree, address); err != nil {
		return "", nil, fmt.Errorf("certificates of the rival: %w", err)
	}
	if err := os.WriteFile(filepath.Join(tree, "kubelet.yaml"), []byte(rivalKubelet), 0o644); err != nil {
		return "", nil, err
	}
	disk = filepath.Join(work, "rival.raw")
	out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-L", rivalLabel, "-d", tree, disk, "1500M").CombinedOutput()
	if err != nil {
		return "", nil, fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return disk, kubeconfig, nil
}

// rivalIdentity makes certificates and kubeconfigs below tree, and returns the administrator's.
func rivalIdentity(tree string, address net.IP) ([]byte, error) {
	dir := filepath.Join(tree, "pki")
	bundle, err := pki.Ensure(dir, pki.Options{
		NodeName: serverName, NodeIPs: []net.IP{address}, ServiceIP: net.IPv4(10, 43, 0, 1), ClusterDomain: "cluster.local", Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name string
		sign func(csr []byte) ([]byte, error)
	}{
		{"kubelet-client", func(csr []byte) ([]byte, error) { return bundle.SignKubeletClient(csr, serverName) }},
		{"kubelet-serving", func(csr []byte) ([]byte, error) {
			return bundle.SignKubeletServing(csr, serverName, []net.IP{address})
		}},
		{"kube-proxy", bundle.SignKubeProxy},
	} {
		key, err := pki.EnsureKey(bundle.TLSFile(c.name + ".key"))
		if err != nil {
			return nil, err
		}
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			return nil, err
		}
		cert, err := c.sign(csr)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(bundle.TLSFile(c.name+".crt"), cert, 0o600); err != nil {
			return nil, err
		}
	}
	for name, cert := range map[string]string{
		"admin": "client-admin", "controller-manager": "client-controller", "scheduler": "client-scheduler",
		"kubelet": "kubelet-client", "kube-proxy": "kube-proxy",
	} {
		k := pki.Kubeconfig{
			Server: "https://127.0.0.1:6443", CAFile: bundle.TLSFile("server-ca.crt"),
			CertFile: bundle.TLSFile(cert + ".crt"), KeyFile: bundle.TLSFile(cert + ".key"), Name: "default", Embed: true,
		}
		if err := k.Write(filepath.Join(tree, name+".kubeconfig"), 0o600); err != nil {
			return nil, err
		}
	}
	return os.ReadFile(filepath.Join(tree, "admin.kubeconfig"))
}

// rivalKubelet is what ours has too, as far as kubeadm's kubelets have it.
const rivalKubelet = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: ` + rivalMount + `/pki/tls/client-ca.crt}
authorization: {mode: Webhook}
cgroupDriver: systemd
clusterDNS: [10.43.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/k3s/containerd/containerd.sock
failSwapOn: false
healthzBindAddress: 127.0.0.1
resolvConf: /run/systemd/resolve/resolv.conf
tlsCertFile: ` + rivalMount + `/pki/tls/kubelet-serving.crt
tlsPrivateKeyFile: ` + rivalMount + `/pki/tls/kubelet-serving.key
volumePluginDir: /var/lib/kubelet/volume-plugins
`

// rivalCommands are the programs' arguments, in the order that they are started in: kubeadm's, without what only matters
// to several servers.
func rivalCommands(address net.IP) [][]string {
	tls := func(name string) string { return rivalMount + "/pki/tls/" + name }
	kubeconfig := func(name string) string { return rivalMount + "/" + name + ".kubeconfig" }
	return [][]string{
		{
			"etcd", "--data-dir=/var/lib/rival-etcd", "--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379",
		},
		{
			"kube-apiserver", "--advertise-address=" + address.String(), "--allow-privileged=true", "--authorization-mode=Node,RBAC",
			"--client-ca-file=" + tls("client-ca.crt"), "--enable-admission-plugins=NodeRestriction",
			"--enable-bootstrap-token-auth=true", "--etcd-servers=http://127.0.0.1:2379",
			"--kubelet-client-certificate=" + tls("client-kube-apiserver.crt"), "--kubelet-client-key=" + tls("client-kube-apiserver.key"),
			"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
			"--proxy-client-cert-file=" + tls("client-auth-proxy.crt"), "--proxy-client-key-file=" + tls("client-auth-proxy.key"),
			"--requestheader-allowed-names=system:auth-proxy", "--requestheader-client-ca-file=" + tls("request-header-ca.crt"),
			"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
			"--requestheader-username-headers=X-Remote-User", "--secure-port=6443",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + tls("service.key"), "--service-account-signing-key-file=" + tls("service.current.key"),
			"--service-cluster-ip-range=" + serviceCIDR,
			"--tls-cert-file=" + tls("serving-kube-apiserver.crt"), "--tls-private-key-file=" + tls("serving-kube-apiserver.key"),
		},
		{
			"kube-controller-manager", "--allocate-node-cidrs=true", "--authentication-kubeconfig=" + kubeconfig("controller-manager"),
			"--authorization-kubeconfig=" + kubeconfig("controller-manager"), "--bind-address=127.0.0.1",
			"--client-ca-file=" + tls("client-ca.crt"), "--cluster-cidr=" + podCIDR,
			"--cluster-signing-cert-file=" + tls("client-ca.crt"), "--cluster-signing-key-file=" + tls("client-ca.key"),
			"--controllers=*,bootstrapsigner,tokencleaner", "--kubeconfig=" + kubeconfig("controller-manager"), "--leader-elect=true",
			"--requestheader-client-ca-file=" + tls("request-header-ca.crt"), "--root-ca-file=" + tls("server-ca.crt"),
			"--service-account-private-key-file=" + tls("service.current.key"), "--service-cluster-ip-range=" + serviceCIDR,
			"--use-service-account-credentials=true",
		},
		{
			"kube-scheduler", "--authentication-kubeconfig=" + kubeconfig("scheduler"),
			"--authorization-kubeconfig=" + kubeconfig("scheduler"), "--bind-address=127.0.0.1",
			"--kubeconfig=" + kubeconfig("scheduler"), "--leader-elect=true",
		},
		{
			"kubelet", "--config=" + rivalMount + "/kubelet.yaml", "--kubeconfig=" + kubeconfig("kubelet"),
			"--hostname-override=" + serverName, "--node-ip=" + address.String(),
		},
		{
			"kube-proxy", "--kubeconfig=" + kubeconfig("kube-proxy"), "--hostname-override=" + serverName,
			"--proxy-mode=nftables", "--cluster-cidr=" + podCIDR,
		},
	}
}

// rivalUnits are systemd units by the names of the credentials that bring them: the rival's, and some in the place of
// ours, so that the daemon starts the rival.
func rivalUnits(address net.IP) map[string][]byte {
	const extra = "systemd.extra-unit."
	units := map[string][]byte{
		extra + "run-rival.mount": []byte("[Mount]\nWhat=/dev/disk/by-label/" + rivalLabel + "\nWhere=" + rivalMount + "\nType=ext4\nOptions=ro\n"),
	}
	var all []string
	for _, command := range rivalCommands(address) {
		name := rivalLabel + "-" + command[0] + ".service"
		all = append(all, name)
		units[extra+name] = []byte("[Unit]\nRequires=run-rival.mount\nAfter=run-rival.mount\nStartLimitIntervalSec=0\n" +
			"[Service]\nExecStart=" + rivalMount + "/bin/" + strings.Join(command, " ") +
			"\nRestart=always\nRestartSec=2\nDelegate=yes\nKillMode=process\nLimitNOFILE=1048576\nTasksMax=infinity\nOOMScoreAdjust=-900\n")
	}
	const ours = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/true\n"
	units[extra+"skerry-control.service"] = []byte("[Unit]\nWants=" + strings.Join(all, " ") + "\n" + ours)
	units[extra+"skerry-node.service"] = []byte(ours)
	units[extra+"skerry-images.service"] = []byte(ours) // imported when the node is Ready, to be in nobody's way
	return units
}

// rivalCNI gives pods a bridge, and no way to other nodes. %s is the range of the node's pods.
const rivalCNI = `{"cniVersion": "1.0.0", "name": "rival", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "backend": "nftables"}]}
`

// rivalNetwork writes the CNI configuration when the controller-manager has given the node a range for its pods, which is
// when the add-ons that people use for it do so.
func rivalNetwork(ctx context.Context, m *vm.Machine) error {
	if err := m.WaitSSH(ctx); err != nil {
		return err
	}
	c, err := m.Cluster(ctx)
	if err != nil {
		return err
	}
	return vm.Wait(ctx, "the rival's pod range", vm.ReadyTimeout, func(ctx context.Context) error {
		node, err := c.CoreV1().Nodes().Get(ctx, serverName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node.Spec.PodCIDR == "" {
			return errors.New("the node has none")
		}
		const file = "/var/lib/rancher/k3s/agent/etc/cni/net.d/10-bridge.conflist"
		_, err = m.RunInput(ctx, "sudo install -D -m 0600 /dev/stdin "+file, strings.NewReader(fmt.Sprintf(rivalCNI, node.Spec.PodCIDR)))
		return err
	})
}

// rivalConfig is the cloud-config of the rival's machine. The kubeconfig is where ours would be, so that the same harness
// looks at both.
func rivalConfig(key string, kubeconfig []byte) ([]byte, error) {
	file := func(path, content string) map[string]string {
		return map[string]string{"path": path, "permissions": "0600", "content": content}
	}
	data, err := yaml.Marshal(map[string]any{
		"hostname":            serverName,
		"ssh_authorized_keys": []string{key},
		"write_files": []map[string]string{
			file("/etc/rancher/k3s/k3s.yaml", string(kubeconfig)),
		},
		"skerry": map[string]any{"cluster": map[string]string{"token": "unused"}},
	})
	return append([]byte("#cloud-config\n"), data...), err
}

// rivalAddons are the manifests of ours, in one text.
func rivalAddons(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		all.WriteString("---\n" + string(data))
	}
	return strings.NewReplacer("%{CLUSTER_DNS}%", "10.43.0.10", "%{CLUSTER_DOMAIN}%", "cluster.local",
		"%{DEFAULT_LOCAL_STORAGE_PATH}%", "/var/lib/rancher/k3s/storage").Replace(all.String()), nil
}
