// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"strings"
)

// Kernel is what the kernel is told when it starts.
type Kernel struct {
	// Further arguments of the kernel, one an item, such as isolcpus=2,3. They
	// come after the image's own. A blank is only possible in double quotes that
	// are a part of the argument. They are written beside the boot loader, and a
	// boot that finds others there reboots once, before it starts Kubernetes.
	Args ArgList `yaml:"args"`
}

// CommandLine is what is added to the kernel's command line; empty for nothing.
func (k *Kernel) CommandLine() string {
	if k == nil {
		return ""
	}
	return strings.Join(k.Args, " ")
}

// maxKernelArgs leaves the image's own arguments their part of the 2048 bytes
// that the kernel takes.
const maxKernelArgs = 1024

func (k *Kernel) check(s scope) {
	for i, arg := range k.Args {
		at := s.item("args", i)
		if message, hint := checkKernelArg(arg); message != "" {
			s.problem(at, message, hint)
		}
	}
	if n := len(k.CommandLine()); n > maxKernelArgs {
		s.problem(s.at("args"), fmt.Sprintf("are %d bytes, more than %d", n, maxKernelArgs), "the kernel takes 2048 in all")
	}
}

func (*Kernel) unsupported(key string) (message, hint string) {
	switch key {
	case "sysctls", "modules":
		return "unknown key", "write it below skerry"
	case "arguments", "cmdline", "parameters", "command-line":
		return "unknown key", "use args"
	}
	return "", ""
}

func checkKernelArg(arg string) (message, hint string) {
	quoted := false
	for _, r := range arg {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			return quote(arg) + " are several arguments", "write each as an item of its own"
		case r < ' ' || r > '~':
			return quote(arg) + " has characters that the kernel doesn't take", "letters, digits and signs of ASCII"
		}
	}
	name, _, _ := strings.Cut(arg, "=")
	switch {
	case quoted:
		return quote(arg) + " has a quote that isn't closed", ""
	case strings.HasPrefix(arg, "-"):
		return quote(arg) + " is for PID 1, which is the image's", ""
	case name == "" || strings.Contains(name, `"`):
		return quote(arg) + " is not an argument of the kernel", "name, or name=value"
	}
	for _, ban := range kernelBans {
		if ban.names[kernelName(name)] {
			return quote(name) + " can't be set: " + ban.reason, ban.hint
		}
		for _, prefix := range ban.prefixes {
			if strings.HasPrefix(kernelName(name), prefix) {
				return quote(name) + " can't be set: " + ban.reason, ban.hint
			}
		}
	}
	return "", ""
}

// kernelName makes names equal that kernel and systemd take for the same.
func kernelName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// kernelBans are the arguments that would make another machine than the one the
// image and the cloud-config describe.
var kernelBans = []struct {
	names        map[string]bool
	prefixes     []string
	reason, hint string
}{
	{
		names: set("root", "rootfstype", "rootflags", "roothash", "usrhash", "ro", "rw", "nfsroot", "resume", "systemd.volatile",
			"systemd.gpt_auto", "rd.systemd.gpt_auto", "systemd.image_policy"),
		prefixes: []string{"systemd.verity", "rd.systemd.verity", "mount.usr", "dm_mod.create", "dm_verity"},
		reason:   "the root file system is the image's, and verified",
	},
	{
		names:  set("init", "rdinit", "initrd", "noinitrd", "initrdmem", "rd.break"),
		reason: "PID 1 and the initrd are the image's",
	},
	{
		names:  set("systemd.unit", "rd.systemd.unit", "single", "s", "S", "1", "2", "3", "4", "5", "rescue", "emergency", "rd.rescue", "rd.emergency"),
		reason: "the machine boots into Kubernetes and nothing else",
	},
	{
		names:  set("config_url", "cloud_config_url", "ds", "ci.ds", "ci.datasource", "network_config", "cc", "cloud_init"),
		reason: "where the configuration is can't be said in it",
	},
	{
		prefixes: []string{"skerry.", "skerry_", "rd.skerry."}, // skerry-live and skerry-counted among them
		reason:   "it would be said in two places",
		hint:     "write the key itself",
	},
	{
		names:  set("ip", "nameserver", "vlan", "bond", "bridge", "team", "rd.route", "rd.neednet", "ifname"),
		reason: "the network has one place",
		hint:   "use skerry.network",
	},
	{
		names:  set("systemd.hostname", "systemd.machine_id"),
		reason: "the identity of the machine has one place",
		hint:   "use hostname",
	},
	{
		names: set("systemd.unified_cgroup_hierarchy", "systemd.legacy_systemd_cgroup_controller", "systemd_cgroup_enable_legacy_force",
			"SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE"),
		reason: "Kubernetes needs cgroup v2",
	},
}
