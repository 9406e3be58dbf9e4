// SPDX-License-Identifier: Apache-2.0

package checkconfig

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine is one that has everything, in a folder.
func machine(t *testing.T) Machine {
	t.Helper()
	m := Machine{Root: t.TempDir(), Release: "6.12.1", PodNetworks: []string{"10.42.0.0/16", "10.43.0.0/16"}}
	var config strings.Builder
	config.WriteString("# Linux\nCONFIG_LOCALVERSION=\"\"\n")
	for _, f := range flags {
		for i, name := range strings.Fields(f.names) {
			fmt.Fprintf(&config, "CONFIG_%s=%c\n", name, "ym"[i%2])
		}
	}
	m.write(t, "usr/lib/modules/6.12.1/config", config.String())
	m.write(t, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n")
	for _, s := range settings {
		m.write(t, "proc/sys/"+strings.ReplaceAll(s.name, ".", "/"), fmt.Sprintln(s.want))
	}
	m.write(t, "proc/sys/fs/file-max", "9223372036854775807\n")
	m.write(t, "proc/meminfo", "MemTotal:        2048000 kB\nMemFree: 1 kB\n")
	for _, p := range programs {
		m.write(t, "usr/bin/"+p.name, "")
		if err := os.Chmod(m.path("usr/bin/"+p.name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.setRoutes(t, "eth0 0.0.0.0/0", "eth0 192.0.2.0/24", "cni0 10.42.0.0/24", "flannel.1 10.42.1.0/24")
	return m
}

func (m Machine) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// setRoutes writes routes as the kernel shows them.
func (m Machine) setRoutes(t *testing.T, routes ...string) {
	t.Helper()
	text := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for _, route := range routes {
		iface, cidr, _ := strings.Cut(route, " ")
		network := netip.MustParsePrefix(cidr)
		address := network.Addr().As4()
		mask := make([]byte, 4)
		binary.BigEndian.PutUint32(mask, ^uint32(1<<(32-network.Bits())-1))
		text += fmt.Sprintf("%s\t%08X\t00000000\t0001\t0\t0\t0\t%08X\t0\t0\t0\n",
			iface, binary.NativeEndian.Uint32(address[:]), binary.NativeEndian.Uint32(mask))
	}
	m.write(t, "proc/net/route", text)
}

// bad returns what isn't OK.
func bad(checks []Check) string {
	var list []string
	for _, c := range checks {
		if c.State != OK {
			list = append(list, fmt.Sprintf("%s %s: %s %s", c.Group, c.Name, c.State, c.Found))
			if c.Hint == "" {
				list = append(list, "without a hint")
			}
		}
	}
	return strings.Join(list, "; ")
}

func TestAllIsThere(t *testing.T) {
	m := machine(t)
	checks := Run(m)
	if got := bad(checks); got != "" || Worst(checks) != OK {
		t.Errorf("a machine that has everything: %s", got)
	}
	if n := len(checks); n < 70 {
		t.Errorf("only %d checks", n)
	}
}

func TestWhatIsMissing(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, m *Machine)
		want  string
		worst State
	}{
		{"a required feature", func(t *testing.T, m *Machine) {
			data, err := os.ReadFile(m.path("usr/lib/modules/6.12.1/config"))
			if err != nil {
				t.Fatal(err)
			}
			m.write(t, "usr/lib/modules/6.12.1/config", strings.Replace(string(data), "CONFIG_MEMCG=", "# CONFIG_MEMCG is not set: ", 1))
		}, "kernel CONFIG_MEMCG: failed missing", Failed},
		{"the configuration", func(t *testing.T, m *Machine) { m.Release = "6.13" },
			"kernel configuration: failed none of /proc/config.gz, /usr/lib/modules/6.13/config, /boot/config-6.13 is there", Failed},
		{"a controller", func(t *testing.T, m *Machine) {
			m.write(t, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
		},
			"cgroups hugetlb: warning missing", Warning},
		{"cgroup v2", func(t *testing.T, m *Machine) {
			if err := os.RemoveAll(m.path("sys/fs/cgroup")); err != nil {
				t.Fatal(err)
			}
		}, "cgroups version 2: failed not mounted", Failed},
		{"a setting", func(t *testing.T, m *Machine) { m.write(t, "proc/sys/kernel/panic", "0\n") },
			"settings kernel.panic: failed 0", Failed},
		{"a small limit", func(t *testing.T, m *Machine) { m.write(t, "proc/sys/fs/inotify/max_user_instances", "128\n") },
			"settings fs.inotify.max_user_instances: warning 128", Warning},
		{"no such setting", func(t *testing.T, m *Machine) {
			if err := os.RemoveAll(m.path("proc/sys/net/bridge")); err != nil {
				t.Fatal(err)
			}
		}, "settings net.bridge.bridge-nf-call-iptables: failed missing", Failed},
		{"memory", func(t *testing.T, m *Machine) { m.write(t, "proc/meminfo", "MemTotal: 524288 kB\n") },
			"settings memory: warning 512 MiB", Warning},
		{"a program that can't be run", func(t *testing.T, m *Machine) {
			if err := os.Chmod(m.path("usr/bin/crun"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "programs crun: failed missing", Failed},
		{"networks of others", func(t *testing.T, m *Machine) { m.setRoutes(t, "eth0 10.0.0.0/8", "eth0 0.0.0.0/0") },
			"network 10.42.0.0/16, 10.43.0.0/16: failed taken: 10.0.0.0/8 on eth0, 10.0.0.0/8 on eth0", Failed},
		{"a default route", func(t *testing.T, m *Machine) { m.setRoutes(t, "eth0 192.0.2.0/24") },
			"network default route: warning missing", Warning},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := machine(t)
			test.spoil(t, &m)
			checks := Run(m)
			if got := bad(checks); got != test.want || Worst(checks) != test.worst {
				t.Errorf("got %s, %s; want %s, %s", got, Worst(checks), test.want, test.worst)
			}
		})
	}
}

// TestCompressed: the running kernel's own word counts first.
func TestCompressed(t *testing.T) {
	m := machine(t)
	var data bytes.Buffer
	w := gzip.NewWriter(&data)
	if _, err := w.Write([]byte("CONFIG_MEMCG=y\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m.write(t, "proc/config.gz", data.String())
	if config, from, err := m.kernelConfig(); err != nil || from != "/proc/config.gz" || len(config) != 1 {
		t.Errorf("got %v from %s, %v", config, from, err)
	}
	m.write(t, "proc/config.gz", "nonsense")
	if _, _, err := m.kernelConfig(); err == nil || !strings.Contains(err.Error(), "/proc/config.gz") {
		t.Errorf("got %v", err)
	}
}
