// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// When says at which time a change of the configuration becomes true on a machine
// that is up. The values are part of `skerry config apply -o json`.
type When string

const (
	// Now is for what a stage makes true.
	Now When = "now"
	// Restart is for what a unit reads when it starts. Pods keep running.
	Restart When = "restart"
	// Reboot is for what only a boot can make true.
	Reboot When = "reboot"
	// Instance is for what is done once an instance: at once if it never was.
	Instance When = "instance"
	// Never is for what has no effect, and is accepted because people bring it
	// along.
	Never When = "never"
)

// The units that read parts of the configuration.
const (
	containerdUnit = "skerry-containerd.service"
	controlUnit    = "skerry-control.service"
	nodeUnit       = "skerry-node.service"
)

// everyUnit is in the order in which units are restarted.
var everyUnit = []string{containerdUnit, controlUnit, nodeUnit}

// Effect is what becomes of a change on a machine that is up.
type Effect struct {
	// Key is a path, whose steps may be * for any. It stands for everything below,
	// too, and the longest that fits counts.
	Key string
	// Stage makes it true; empty where a unit, a late stage or a boot does.
	Stage string
	When  When
	// Units are restarted, where When is Restart.
	Units []string
	// Changed and Gone are for a value that was another before, or is there no
	// more, where that isn't When.
	Changed, Gone When
	// Why says what is not plain: of Changed and Gone, where there is one of them.
	Why string
}

// Effects has every key of the configuration, and what isn't a key.
var Effects = []Effect{
	{Key: "hostname", When: Reboot, Why: "the node is named after it"},
	{Key: "fqdn", When: Reboot, Why: "the node is named after it"},
	{Key: "local-hostname", When: Reboot, Why: "the meta-data names the machine, and the node is named after it"},
	{Key: "preserve_hostname", When: Never},
	{Key: "manage_etc_hosts", When: Reboot},
	{Key: "groups", Stage: "users", When: Now},
	{Key: "users", Stage: "users", When: Now, Why: "who is logged in stays so until they log out"},
	{Key: "users.*.ssh_authorized_keys", Stage: "ssh keys", When: Now},
	{Key: "users.*.ssh_import_id", Stage: "ssh_import_id", When: Now},
	{Key: "ssh_authorized_keys", Stage: "ssh keys", When: Now},
	{Key: "ssh_import_id", Stage: "ssh_import_id", When: Now},
	{Key: "ssh_pwauth", Stage: "ssh keys", When: Now},
	{Key: "chpasswd", Stage: "users", When: Now},
	{Key: "write_files", Stage: "files", When: Now, Why: "a file that leaves is what it was at boot; below /var it stays"},
	{Key: "bootcmd", When: Reboot, Why: "they run at each boot, before everything else"},
	{Key: "runcmd", Stage: "runcmd", When: Instance, Why: "they run once an instance"},
	{Key: "scripts", Stage: "scripts", When: Now, Why: "a script that was changed is another one, and runs once"},
	{Key: "ntp", Stage: "ntp", When: Now},
	{Key: "timezone", Stage: "timezone", When: Now, Why: "what runs keeps the old one until it is started again"},
	{Key: "growpart", When: Never},
	{Key: "resize_rootfs", When: Never},
	{Key: "disk_setup", Stage: "disks", When: Now, Why: "what is on a disk is left alone"},
	{Key: "fs_setup", Stage: "file systems", When: Now, Why: "what is on a disk is left alone"},
	{Key: "mounts", Stage: "mounts", When: Now, Changed: Reboot, Gone: Reboot, Why: "what is mounted stays so"},
	{Key: "swap", Stage: "swap file", When: Now, Changed: Reboot, Why: "a swap file in use keeps its size"},
	{Key: "ca_certs", Stage: "ca certificates", When: Restart, Units: everyUnit},
	{Key: "ca_certs.remove_defaults", Stage: "ca certificates", When: Restart, Units: everyUnit, Changed: Reboot, Gone: Reboot,
		Why: "the image's certificates come back with a boot"},
	{Key: "ca-certs", Stage: "ca certificates", When: Restart, Units: everyUnit},
	{Key: "ca-certs.remove-defaults", Stage: "ca certificates", When: Restart, Units: everyUnit, Changed: Reboot, Gone: Reboot,
		Why: "the image's certificates come back with a boot"},
	{Key: "power_state", When: Reboot, Why: "it is the end of a boot, once an instance"},
	{Key: "phone_home", When: Reboot, Why: "it is the end of a boot, once an instance"},
	{Key: "final_message", When: Reboot, Why: "it is the end of a boot"},

	{Key: "skerry.role", When: Reboot, Why: "server and agent keep different things; nothing of the cluster changes before"},
	{Key: "skerry.sysctls", Stage: "sysctls", When: Now, Why: "a setting that leaves is what it was at boot"},
	{Key: "skerry.kernel", When: Reboot, Why: "the kernel reads its arguments when it starts"},
	{Key: "skerry.modules", Stage: "modules", When: Now, Changed: Reboot, Gone: Reboot, Why: "a module that is loaded stays, with its arguments"},
	{Key: "skerry.environment", Stage: "environment", When: Restart, Units: everyUnit},
	{Key: "skerry.registries", Stage: "registries", When: Now},
	{Key: "skerry.registries.configs.*.auth", Stage: "registries", When: Restart, Units: []string{containerdUnit}},
	{Key: "skerry.time", When: Reboot, Why: "it is waited for at boot"},
	{Key: "skerry.allow-scripts", Stage: "scripts", When: Now},
	{Key: "skerry.extensions", Stage: "extensions", When: Now, Why: "what runs of an extension goes on until it ends"},
	{Key: "skerry.upgrade", When: Now, Why: "skerry upgrade reads it when it is called"},
	{Key: "skerry.storage", When: Reboot, Why: "STATE and DATA are looked at before anything is applied"},
	{Key: "skerry.reset", When: Reboot, Why: "it is done at boot, once for its id"},
	{Key: "skerry.install", When: Never},
	{Key: "skerry.firewall", Stage: "firewall", When: Now, Why: "connections that are there already stay"},
	{Key: "skerry.network", Stage: "network", When: Now, Why: "a changed address of the node restarts Kubernetes"},
	{Key: "skerry.network.ethernets.*.match", Stage: "network", When: Now, Changed: Reboot, Gone: Reboot, Why: "a card that is up keeps its name"},
	{Key: "skerry.network.ethernets.*.set-name", Stage: "network", When: Reboot, Why: "a card that is up keeps its name"},
	{Key: "skerry.network.bonds", Stage: "network", When: Now, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.bonds.*.parameters", Stage: "network", When: Now, Changed: Reboot, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.bridges", Stage: "network", When: Now, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.bridges.*.parameters", Stage: "network", When: Now, Changed: Reboot, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.vlans", Stage: "network", When: Now, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.vlans.*.id", Stage: "network", When: Now, Changed: Reboot, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.vlans.*.link", Stage: "network", When: Now, Changed: Reboot, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.vrfs", Stage: "network", When: Now, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.vrfs.*.table", Stage: "network", When: Now, Changed: Reboot, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "skerry.network.tunnels", Stage: "network", When: Now, Changed: Reboot, Gone: Reboot, Why: "an interface that is there stays as it was made"},
	{Key: "network-config", Stage: "network", When: Now, Why: "the network-config of the data source; what it makes of bonds, VLANs and the like may need a reboot"},

	{Key: "skerry.cluster.token", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.token-file", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.agent-token", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.server", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.node-name", When: Reboot, Why: "another name is another node"},
	{Key: "skerry.cluster.with-node-id", When: Reboot, Why: "another name is another node"},
	{Key: "skerry.cluster.node-ip", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.node-external-ip", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.node-internal-dns", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.node-external-dns", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.flannel-ipv6-masq", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "other nodes take it up when they are started again"},
	{Key: "skerry.cluster.flannel-external-ip", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "other nodes take it up when they are started again"},
	{Key: "skerry.cluster.node-label", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.node-taint", When: Restart, Units: []string{nodeUnit}, Why: "a node takes its taints when it registers for the first time"},
	{Key: "skerry.cluster.cluster-cidr", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "nodes that have a network for their pods keep it"},
	{Key: "skerry.cluster.service-cidr", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "services keep the addresses they have"},
	{Key: "skerry.cluster.cluster-dns", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "pods keep the one they were started with"},
	{Key: "skerry.cluster.cluster-domain", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "pods keep the one they were started with"},
	{Key: "skerry.cluster.tls-san", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.bind-address", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.advertise-address", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.https-listen-port", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.lb-server-port", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.data-dir", When: Reboot, Why: "everything that runs has the old one open"},
	{Key: "skerry.cluster.write-kubeconfig", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.write-kubeconfig-mode", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.flannel-backend", When: Reboot, Why: "interfaces and routes of the old one go with a boot"},
	{Key: "skerry.cluster.flannel-iface", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.flannel-conf", When: Reboot, Why: "interfaces and routes of the old one go with a boot"},
	{Key: "skerry.cluster.resolv-conf", When: Restart, Units: []string{nodeUnit}, Why: "pods keep what they were started with"},
	{Key: "skerry.cluster.protect-kernel-defaults", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.image-credential-provider-config", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.image-credential-provider-bin-dir", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.disable-default-registry-endpoint", Stage: "registries", When: Now},
	{Key: "skerry.cluster.nonroot-devices", Stage: "containerd", When: Restart, Units: []string{containerdUnit}},
	{Key: "skerry.cluster.snapshotter", When: Never},
	{Key: "skerry.cluster.disable-apiserver-lb", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.tls-san-security", When: Never},
	{Key: "skerry.cluster.debug", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.v", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.vmodule", When: Restart, Units: []string{controlUnit, nodeUnit}},
	{Key: "skerry.cluster.disable", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.kubelet-arg", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.kube-proxy-arg", When: Restart, Units: []string{nodeUnit}},
	{Key: "skerry.cluster.kube-apiserver-arg", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.kube-controller-manager-arg", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.kube-scheduler-arg", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.service-node-port-range", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.egress-selector-mode", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "other nodes take it up when they are started again"},
	{Key: "skerry.cluster.disable-agent", When: Reboot, Why: "a boot decides whether the machine runs pods"},
	{Key: "skerry.cluster.disable-controller-manager", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.disable-scheduler", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.disable-kube-proxy", When: Reboot, Why: "the rules of kube-proxy go with a boot, on each node with its own"},
	{Key: "skerry.cluster.disable-network-policy", When: Never},
	{Key: "skerry.cluster.disable-helm-controller", When: Never},
	{Key: "skerry.cluster.disable-cloud-controller", When: Restart, Units: []string{controlUnit, nodeUnit}, Why: "other nodes take it up when they are started again"},
	{Key: "skerry.cluster.datastore-endpoint", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.datastore-cafile", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.datastore-certfile", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.datastore-keyfile", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.cluster-init", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.cluster-reset", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-arg", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-expose-metrics", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-disable-snapshots", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-snapshot-schedule-cron", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-snapshot-retention", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-snapshot-dir", When: Restart, Units: []string{controlUnit}, Why: "snapshots stay where they are"},
	{Key: "skerry.cluster.etcd-snapshot-name", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-snapshot-compress", When: Never},
	{Key: "skerry.cluster.etcd-s3", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-endpoint", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-endpoint-ca", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-skip-ssl-verify", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-insecure", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-access-key", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-secret-key", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-session-token", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-bucket", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-bucket-lookup-type", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-region", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-folder", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-retention", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.etcd-s3-timeout", When: Restart, Units: []string{controlUnit}},
	{Key: "skerry.cluster.secrets-encryption", When: Restart, Units: []string{controlUnit}, Why: "of a cluster that exists, skerry secrets-encrypt changes it"},
	{Key: "skerry.cluster.secrets-encryption-provider", When: Restart, Units: []string{controlUnit}, Why: "keys that there are stay as they are"},
}

// Outcome is what becomes of one change.
type Outcome struct {
	When  When
	Units []string
	// BootOnly is for a key of which every change needs a reboot: to change it
	// back needs none.
	BootOnly bool
	// Why is empty where there is nothing to say.
	Why string
}

// OutcomeOf looks up what becomes of a change. A key that isn't in the table
// needs a reboot: that makes everything true.
func OutcomeOf(c configschema.Change) Outcome {
	steps := pathSteps(c.Path)
	var best *Effect
	longest := 0
	for i := range Effects {
		if n := fits(pathSteps(Effects[i].Key), steps); n > longest {
			best, longest = &Effects[i], n
		}
	}
	if best == nil {
		return Outcome{When: Reboot}
	}
	o := Outcome{When: best.When, BootOnly: best.When == Reboot, Why: best.Why}
	switch {
	case c.Before != nil && c.After != nil && best.Changed != "":
		o.When = best.Changed
	case c.Before != nil && c.After == nil && best.Gone != "":
		o.When = best.Gone
	case best.Changed != "" || best.Gone != "":
		o.Why = "" // it says why the others are otherwise
	}
	if o.When == Restart {
		o.Units = best.Units
	}
	return o
}

// fits returns how many steps of a path a key has, none when it is of another.
func fits(key, path []string) int {
	if len(key) > len(path) {
		return 0
	}
	for i, step := range key {
		if step != "*" && step != path[i] {
			return 0
		}
	}
	return len(key)
}

// pathSteps takes a path apart, as configschema.Setting has it:
// skerry.sysctls["vm.max_map_count"], users[0].name.
func pathSteps(path string) []string {
	var steps []string
	var step strings.Builder
	quoted := false
	end := func() {
		if step.Len() > 0 {
			steps = append(steps, step.String())
			step.Reset()
		}
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case quoted && c == '\\' && i+1 < len(path):
			i++
			step.WriteByte(path[i])
		case c == '"':
			quoted = !quoted
		case quoted:
			step.WriteByte(c)
		case c == '.' || c == '[' || c == ']':
			end()
		default:
			step.WriteByte(c)
		}
	}
	end()
	return steps
}

// RestartOrder puts units into the order in which they are restarted, each once.
func RestartOrder(units []string) []string {
	return slices.DeleteFunc(slices.Clone(everyUnit), func(name string) bool { return !slices.Contains(units, name) })
}
