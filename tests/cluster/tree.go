// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tree are the files laid over the image's root.
var tree = map[string]string{
	// There are no cgroup controllers: the kubelet can't limit anything.
	"usr/share/skerry/cloud-config.d/99-test.yaml": `#cloud-config
skerry:
  cluster:
    kubelet-arg:
      - cgroups-per-qos=false
      - enforce-node-allocatable=
      - cgroup-driver=cgroupfs
`,
	// The image's own is for cards that are real; to networkd a tap is something else.
	"usr/lib/systemd/network/79-test.network": `[Match]
Name=eth*

[Network]
DHCP=yes
LLMNR=no
MulticastDNS=no

[DHCPv4]
ClientIdentifier=mac
UseHostname=no
UseDomains=yes
`,
	"usr/lib/systemd/system/test-sysctl.service": `[Unit]
Description=Settings of the kernel that are this machine's alone
DefaultDependencies=no
Before=sysinit.target systemd-sysctl.service

[Service]
Type=oneshot
ExecStart=/usr/libexec/test/` + sysctlRole + `
`,
	// There are no slots.
	"usr/lib/systemd/system/skerry-node.service.d/test.conf": `[Service]
ExecStart=
ExecStart=/usr/bin/skerry node --config /run/skerry/cluster.yaml --role=${SKERRY_ROLE} --upgrade-program=/usr/libexec/test/` + upgradeRole + `
`,
}

// links are symbolic links of the tree.
var links = map[string]string{
	"usr/lib/systemd/system/sysinit.target.wants/test-sysctl.service": "../test-sysctl.service",
}

// containerdConfig is the image's own file, in which these are changed: there are no cgroup controllers, no AppArmor, and
// no right to be spared by the OOM killer.
const containerdConfig = "etc/skerry/containerd.toml"

var containerdChanges = [][2]string{
	{"SystemdCgroup = true", "SystemdCgroup = false"},
	{`"/usr/bin/crun"`, `"/usr/libexec/test/` + runtimeRole + `"`},
	{"\n[plugins.\"io.containerd.cri.v1.runtime\"]\n", "\n[plugins.\"io.containerd.cri.v1.runtime\"]\nrestrict_oom_score_adj = true\ndisable_apparmor = true\n"},
}

func changeContainerd(image, dir string) error {
	data, err := os.ReadFile(filepath.Join(image, containerdConfig))
	if err != nil {
		return err
	}
	text := string(data)
	for _, change := range containerdChanges {
		if strings.Count(text, change[0]) != 1 {
			return fmt.Errorf("%s has %q not exactly once", containerdConfig, change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	path := filepath.Join(dir, containerdConfig)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// writeTree writes to dir what is laid over the root that is mounted on image.
func writeTree(image, dir string) error {
	if err := hide(filepath.Join(dir, hidden)); err != nil {
		return err
	}
	if err := changeContainerd(image, dir); err != nil {
		return err
	}
	for name, content := range tree {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	for name, target := range links {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// This program, for its roles inside the machine.
	for _, role := range []string{runtimeRole, sysctlRole, upgradeRole} {
		if err := copySelf(filepath.Join(dir, "usr/libexec/test", role)); err != nil {
			return err
		}
	}
	return nil
}

// hidden is a file of the image that is not there: without cgroup controllers there are no numbers for metrics-server,
// which then never is Ready.
const hidden = "usr/share/skerry/manifests/metrics-server.yaml"

// hide makes what overlayfs takes for the absence of a file.
func hide(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(path, unix.S_IFCHR, 0); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("hide %s: %w", path, err)
	}
	return nil
}

// copySelf copies this program, or links it where that is possible.
func copySelf(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if os.Link(self, path) == nil {
		return nil
	}
	in, err := os.Open(self)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// runCrun executes crun with a bundle that asks for no limits: the machine has no cgroup controllers to set them by.
func runCrun(args []string) error {
	for i, arg := range args {
		bundle, ok := strings.CutPrefix(arg, "--bundle=")
		if !ok && (arg == "--bundle" || arg == "-b") && i+1 < len(args) {
			bundle, ok = args[i+1], true
		}
		if !ok {
			continue
		}
		if err := dropLimits(filepath.Join(bundle, "config.json")); err != nil {
			return err
		}
	}
	return unix.Exec("/usr/bin/crun", append([]string{"crun"}, args...), os.Environ())
}

func dropLimits(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var linux map[string]json.RawMessage
	if err := json.Unmarshal(config["linux"], &linux); err != nil {
		return fmt.Errorf("%s: linux: %w", file, err)
	}
	delete(linux, "resources")
	if config["linux"], err = json.Marshal(linux); err != nil {
		return err
	}
	if data, err = json.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// shadowed are the settings below /proc/sys that Skerry sets, and that are not of a namespace.
var shadowed = []string{
	"vm/*", "kernel/*", "kernel/keys/*", "kernel/yama/*", "fs/*", "fs/inotify/*", "dev/tty/*", "net/core/bpf_jit_harden",
}

// shadowSysctls lays files over settings of the kernel: they can be written and read, and change nothing.
func shadowSysctls() error {
	const dir = "/run/test-sysctl"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, pattern := range shadowed {
		files, err := filepath.Glob("/proc/sys/" + pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil || !info.Mode().IsRegular() || slices.Contains(real, strings.TrimPrefix(file, "/proc/sys/")) {
				continue
			}
			value, _ := os.ReadFile(file) // some can't be read
			shadow := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(file, "/proc/sys/"), "/", "."))
			if err := os.WriteFile(shadow, value, 0o644); err != nil {
				return err
			}
			if err := unix.Mount(shadow, file, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("lay a file over %s: %w", file, err)
			}
		}
	}
	return nil
}

// real are settings that are of the machine's own namespaces.
var real = []string{"kernel/hostname", "kernel/domainname"}
