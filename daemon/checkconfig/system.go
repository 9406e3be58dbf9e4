// SPDX-License-Identifier: Apache-2.0

package checkconfig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// controllers are those of cgroup v2 that the kubelet and the runtime use.
var controllers = []struct {
	name  string
	state State // of a machine without
	hint  string
}{
	{"cpu", Failed, "shares and limits of processor time"},
	{"cpuset", Failed, "processors that a pod has for itself"},
	{"memory", Failed, "limits of memory"},
	{"pids", Failed, "limits of processes"},
	{"io", Warning, "counting of disk traffic"},
	{"hugetlb", Warning, "huge pages for pods"},
}

func (m Machine) cgroups() []Check {
	const file = "/sys/fs/cgroup/cgroup.controllers"
	data, err := os.ReadFile(m.path(file))
	if err != nil {
		return []Check{{Group: "cgroups", Name: "version 2", State: Failed, Found: "not mounted",
			Hint: "boot with the unified hierarchy: remove systemd.unified_cgroup_hierarchy=0 and cgroup_no_v1 from the command line"}}
	}
	checks := []Check{{Group: "cgroups", Name: "version 2", State: OK, Found: "mounted"}}
	there := strings.Fields(string(data))
	for _, want := range controllers {
		c := Check{Group: "cgroups", Name: want.name, State: OK, Found: "available"}
		if !slices.Contains(there, want.name) {
			c.State, c.Found, c.Hint = want.state, "missing", want.hint+"; see cgroup_disable= on the kernel's command line"
		}
		checks = append(checks, c)
	}
	return checks
}

// setting is a number below /proc/sys.
type setting struct {
	name    string
	want    int64
	atLeast bool  // more is as good
	state   State // of a machine with another
	hint    string
}

var settings = []setting{
	{name: "net.ipv4.ip_forward", want: 1, state: Failed, hint: "pods are routed"},
	{name: "net.bridge.bridge-nf-call-iptables", want: 1, state: Failed, hint: "Services answer pods of the same node; the module br_netfilter brings it"},
	{name: "vm.overcommit_memory", want: 1, state: Failed, hint: "the kubelet insists on it"},
	{name: "vm.panic_on_oom", want: 0, state: Failed, hint: "the kubelet insists on it"},
	{name: "kernel.panic", want: 10, state: Failed, hint: "the kubelet insists on it"},
	{name: "kernel.panic_on_oops", want: 1, state: Failed, hint: "the kubelet insists on it"},
	{name: "fs.inotify.max_user_instances", want: 512, atLeast: true, state: Warning, hint: "each container and many programs watch files"},
	{name: "fs.inotify.max_user_watches", want: 65536, atLeast: true, state: Warning, hint: "each container and many programs watch files"},
	{name: "kernel.pid_max", want: 65536, atLeast: true, state: Warning, hint: "all processes of all pods"},
	{name: "fs.file-max", want: 262144, atLeast: true, state: Warning, hint: "all open files of all pods"},
	{name: "net.netfilter.nf_conntrack_max", want: 32768, atLeast: true, state: Warning, hint: "all connections of all pods; the module nf_conntrack brings it"},
}

// minMemory is what an agent with a few pods lives in, in KiB.
const minMemory = 900 << 10

func (m Machine) settings() []Check {
	var checks []Check
	for _, s := range settings {
		c := Check{Group: "settings", Name: s.name}
		want := strconv.FormatInt(s.want, 10)
		if s.atLeast {
			want = "at least " + want
		}
		value, err := m.number("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		c.Found = strconv.FormatInt(value, 10)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			c.State, c.Found, c.Hint = s.state, "missing", "want "+want+": "+s.hint
		case err != nil:
			c.State, c.Found, c.Hint = s.state, err.Error(), "want "+want+": "+s.hint
		case value < s.want || value > s.want && !s.atLeast:
			c.State, c.Hint = s.state, "want "+want+": "+s.hint
		default:
			c.State = OK
		}
		checks = append(checks, c)
	}
	return append(checks, m.memory())
}

func (m Machine) number(name string) (int64, error) {
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) == 0 {
		return 0, errors.New("is empty")
	}
	if value, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
		return int64(min(value, 1<<62)), nil // fs.file-max is 2^63-1, or more
	}
	return strconv.ParseInt(fields[0], 10, 64)
}

func (m Machine) memory() Check {
	c := Check{Group: "settings", Name: "memory", State: OK}
	data, err := os.ReadFile(m.path("/proc/meminfo"))
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemTotal:" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			break
		}
		c.Found = fmt.Sprintf("%d MiB", kib>>10)
		if kib < minMemory {
			c.State, c.Hint = Warning, "an agent with a few pods takes 900 MiB, a server 1.5 GiB"
		}
		return c
	}
	c.State, c.Found = Warning, fmt.Sprintf("/proc/meminfo doesn't say: %v", err)
	return c
}

// programs are what containerd and the kubelet call.
var programs = []struct{ name, hint string }{
	{"containerd", "runs the pods"},
	{"containerd-shim-runc-v2", "containerd starts one for each pod"},
	{"crun", "makes the containers"},
	{"nft", "kube-proxy and flannel make their rules with it"},
	{"mount", "the kubelet mounts volumes with it"},
	{"umount", "the kubelet unmounts volumes with it"},
	{"mkfs.ext4", "the kubelet formats volumes with it"},
}

// programDirs are where the processes of Kubernetes look for programs.
var programDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

func (m Machine) programs() []Check {
	var checks []Check
	for _, p := range programs {
		c := Check{Group: "programs", Name: p.name, State: Failed, Found: "missing", Hint: p.hint}
		for _, dir := range programDirs {
			if info, err := os.Stat(m.path(dir + "/" + p.name)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				c.State, c.Found, c.Hint = OK, dir+"/"+p.name, ""
				break
			}
		}
		checks = append(checks, c)
	}
	return checks
}

// podInterfaces are those that Kubernetes makes itself.
var podInterfaces = []string{"cni", "flannel", "veth", "kube-"}

// routes looks for networks of others that pods and services would take.
func (m Machine) routes() []Check {
	const file = "/proc/net/route"
	data, err := os.ReadFile(m.path(file))
	if err != nil {
		return []Check{{Group: "network", Name: "routes", State: Warning, Found: err.Error()}}
	}
	hasDefault := false
	var others []string // that are in the way
	for line := range strings.Lines(string(data)) {
		iface, network, ok := parseRoute(line)
		if !ok || slices.ContainsFunc(podInterfaces, func(prefix string) bool { return strings.HasPrefix(iface, prefix) }) {
			continue
		}
		if network.Bits() == 0 {
			hasDefault = true
			continue
		}
		for _, text := range m.PodNetworks {
			if pods, err := netip.ParsePrefix(text); err == nil && pods.Overlaps(network) {
				others = append(others, fmt.Sprintf("%s on %s", network, iface))
			}
		}
	}
	way := Check{Group: "network", Name: "default route", State: OK, Found: "there"}
	if !hasDefault {
		way.State, way.Found, way.Hint = Warning, "missing", "without one, skerry.cluster.node-ip has to say which address the node has"
	}
	free := Check{Group: "network", Name: strings.Join(m.PodNetworks, ", "), State: OK, Found: "free for pods and services"}
	if len(others) > 0 {
		free.State, free.Found = Failed, "taken: "+strings.Join(others, ", ")
		free.Hint = "choose other networks with cluster-cidr and service-cidr"
	}
	return []Check{way, free}
}

// parseRoute reads a line of /proc/net/route: interface, destination, gateway,
// flags, three counters, and the mask, numbers in hexadecimal and in the byte
// order of the machine.
func parseRoute(line string) (iface string, network netip.Prefix, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 8 {
		return "", netip.Prefix{}, false
	}
	word := func(text string) (out [4]byte, ok bool) {
		number, err := strconv.ParseUint(text, 16, 32)
		binary.NativeEndian.PutUint32(out[:], uint32(number))
		return out, err == nil
	}
	destination, ok1 := word(fields[1])
	mask, ok2 := word(fields[7])
	if !ok1 || !ok2 {
		return "", netip.Prefix{}, false
	}
	bits := 0
	for n := binary.BigEndian.Uint32(mask[:]); n != 0; n <<= 1 {
		bits++
	}
	return fields[0], netip.PrefixFrom(netip.AddrFrom4(destination), bits), true
}
