// SPDX-License-Identifier: Apache-2.0

package checkconfig

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
)

// flags are the features of the kernel that are looked for, by the names of its
// configuration. K3s' check-config has the same, but for those of nftables, which
// kube-proxy and flannel use here instead of iptables.
var flags = []struct {
	names string
	state State // of a kernel without
	hint  string
}{
	{"NAMESPACES NET_NS PID_NS IPC_NS UTS_NS", Failed, "containers are made of it"},
	{"CGROUPS CGROUP_PIDS CGROUP_CPUACCT CGROUP_DEVICE CGROUP_FREEZER CGROUP_SCHED CPUSETS MEMCG", Failed, "pods are counted and limited by it"},
	{"SECCOMP KEYS POSIX_MQUEUE", Failed, "container runtimes need it"},
	{"VETH BRIDGE BRIDGE_NETFILTER", Failed, "pods are connected by it"},
	{"NF_CONNTRACK NF_NAT NF_TABLES NF_TABLES_INET NFT_CT NFT_NAT NFT_MASQ NFT_NUMGEN NFT_REJECT_INET NFT_FIB_INET", Failed,
		"kube-proxy, flannel and the firewall are rules of nftables"},
	{"OVERLAY_FS", Failed, "images are unpacked into it"},
	{"VXLAN", Warning, "flannel's default backend needs it; host-gw does without"},
	{"CFS_BANDWIDTH", Warning, "limits of processor time are kept by it"},
	{"BLK_CGROUP", Warning, "disk traffic is counted and limited by it"},
	{"USER_NS", Warning, "pods with a user namespace of their own need it"},
	{"BPF_SYSCALL CGROUP_BPF", Warning, "devices of pods are guarded by it"},
	{"IP_NF_FILTER IP_NF_NAT IP_NF_TARGET_MASQUERADE IP_NF_TARGET_REJECT NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_COMMENT " +
		"NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MATCH_MULTIPORT NETFILTER_XT_MATCH_STATISTIC", Warning,
		"pods that bring iptables need it, and kube-proxy in its iptables mode"},
	{"IP_SET IP_VS IP_VS_RR NETFILTER_XT_MATCH_IPVS", Warning, "pods that bring ipset need it, and kube-proxy in its ipvs mode"},
	{"EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY", Warning, "volumes are ext4 mostly"},
}

// kernelConfigs are where a kernel's configuration is found, by its release.
var kernelConfigs = []string{"/proc/config.gz", "/usr/lib/modules/%s/config", "/boot/config-%s"}

// maxKernelConfig is more than any kernel's configuration has, in bytes.
const maxKernelConfig = 4 << 20

func (m Machine) kernel() []Check {
	config, from, err := m.kernelConfig()
	if err != nil {
		return []Check{{Group: "kernel", Name: "configuration", State: Failed, Found: err.Error(),
			Hint: "features of the kernel can't be looked at: install the package that brings the file, or modprobe configs"}}
	}
	checks := []Check{{Group: "kernel", Name: "configuration", State: OK, Found: from}}
	for _, f := range flags {
		for name := range strings.FieldsSeq(f.names) {
			c := Check{Group: "kernel", Name: "CONFIG_" + name}
			switch config[c.Name] {
			case "y":
				c.State, c.Found = OK, "built in"
			case "m":
				c.State, c.Found = OK, "module"
			default:
				c.State, c.Found, c.Hint = f.state, "missing", f.hint
			}
			checks = append(checks, c)
		}
	}
	return checks
}

// kernelConfig returns the configuration of the running kernel and where it was.
func (m Machine) kernelConfig() (config map[string]string, from string, err error) {
	var tried []string
	for _, form := range kernelConfigs {
		name := form
		if strings.Contains(form, "%s") {
			name = fmt.Sprintf(form, m.Release)
		}
		data, err := os.ReadFile(m.path(name))
		if err != nil {
			tried = append(tried, name)
			continue
		}
		if strings.HasSuffix(name, ".gz") {
			if data, err = unzip(data); err != nil {
				return nil, "", fmt.Errorf("read %s: %w", name, err)
			}
		}
		config = map[string]string{}
		for line := range strings.Lines(string(data)) {
			if key, value, set := strings.Cut(strings.TrimSpace(line), "="); set && strings.HasPrefix(key, "CONFIG_") {
				config[key] = value
			}
		}
		return config, name, nil
	}
	return nil, "", fmt.Errorf("none of %s is there", strings.Join(tried, ", "))
}

func unzip(data []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(reader, maxKernelConfig))
}
