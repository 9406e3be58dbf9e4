// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/source"
)

func parse(t *testing.T, text string) *config.Loaded {
	t.Helper()
	parsed, problems := configschema.Parse("user-data", []byte("#cloud-config\n"+text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	loaded := &config.Loaded{Config: parsed, Network: parsed.Skerry.Network,
		Document: &source.Document{Source: "test", InstanceID: "i-1"}, Layers: &config.Layers{}}
	if loaded.Hostname, loaded.FQDN = parsed.Name(); loaded.Hostname == "" {
		loaded.Hostname, loaded.FQDN = "a", "a"
	}
	return loaded
}

func applyAll(t *testing.T, m *Machine, loaded *config.Loaded) error {
	for _, stage := range Stages() {
		if err := stage.Run(t.Context(), m, loaded); err != nil {
			return err
		}
	}
	return nil
}

func mustApply(t *testing.T, m *Machine, text string) {
	t.Helper()
	if err := applyAll(t, m, parse(t, text)); err != nil {
		t.Fatal(err)
	}
}

const (
	key1 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl one"
	key2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl two"

	everything = `
hostname: server-1
fqdn: server-1.example.org
ssh_pwauth: false
ssh_authorized_keys: ["` + key1 + `"]
users:
  - name: ops
    gecos: On call
    groups: [adm, dev]
    sudo: ["ALL=(ALL) NOPASSWD:ALL"]
    passwd: $6$salt$abcdefgh
    lock_passwd: false
    ssh_authorized_keys: ["` + key2 + `"]
  - {name: guest, shell: /bin/sh, uid: 3000}
write_files:
  - {path: /etc/motd, content: "hello\n"}
  - {path: /var/lib/app/secret, content: s, owner: "ops:dev", permissions: "0400"}
  - {path: /var/log/append, content: "line\n", append: true}
  - {path: /etc/late, content: x, defer: true}
skerry:
  modules: [wireguard, bonding mode=4 miimon=100]
  sysctls: {vm.max_map_count: 262144, net.conf.a/b.filter: true}
`
	// more are the keys that everything has no room for.
	more = `
users: [{name: ops, ssh_import_id: [gh:ops]}]
skerry:
  environment: {HTTPS_PROXY: "http://u:hunter2@proxy:3128", A: b}
  registries:
    mirrors: {docker.io: {endpoint: "https://mirror:5000"}}
    configs: {"mirror:5000": {auth: {username: u, password: hunter2}}}
groups: [{team: [ops]}, empty]
bootcmd: [echo one]
timezone: Europe/Oslo
ntp: {servers: [ntp.example.org], pools: [pool.example.org]}
disk_setup: {/dev/vdb: {layout: true}}
fs_setup: [{device: /dev/vdb, partition: 1, label: data}]
mounts: [[LABEL=data, /mnt/data, ext4], [/dev/vdc, /mnt/none]]
swap: {size: 2M}
`
)

func TestEverything(t *testing.T) {
	m, system := newMachine(t)
	mustApply(t, m, everything)
	for name, want := range map[string]string{
		"etc/hostname": "server-1\n",
		"etc/hosts":    "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 server-1.example.org server-1\n",
		"etc/passwd": image["etc/passwd"] + "ops:x:1000:1000:On call:/home/ops:/bin/bash\nguest:x:3000:3000::/home/guest:/bin/sh\n" +
			"skerry:x:1001:1001:Skerry:/home/skerry:/bin/bash\n",
		"etc/shadow": image["etc/shadow"] + "ops:$6$salt$abcdefgh::0:99999:7:::\nguest:*::0:99999:7:::\nskerry:*::0:99999:7:::\n",
		"etc/group": "root:x:0:\nadm:x:4:syslog,ops\nsudo:x:27:\nnogroup:x:65534:\n" +
			"ops:x:1000:\nguest:x:3000:\nskerry:x:1001:\ndev:x:1002:ops\n",
		"etc/gshadow":                                       "root:*::\nadm:*::syslog,ops\nsudo:*::\nops:!::\nguest:!::\nskerry:!::\ndev:!::ops\n",
		"etc/sudoers.d/90-skerry-users":                     "ops ALL=(ALL) NOPASSWD:ALL\nskerry ALL=(ALL) NOPASSWD:ALL\n",
		"etc/ssh/authorized_keys.d/ops":                     key2 + "\n",
		"etc/ssh/authorized_keys.d/skerry":                  key1 + "\n",
		"etc/motd":                                          "hello\n",
		"etc/late":                                          "x",
		"var/lib/app/secret":                                "s",
		"var/log/append":                                    "line\n",
		"home/ops/.profile":                                 "# profile\n",
		"proc/sys/vm/max_map_count":                         "262144\n",
		"proc/sys/vm/min_free_kbytes":                       "512\n",
		"proc/sys/net/conf/a.b/filter":                      "1\n",
		"etc/sysctl.d/90-skerry.conf":                       "net.conf.a/b.filter = 1\nvm.max_map_count = 262144\n",
		"etc/ssh/sshd_config.d/00-skerry-cloud-config.conf": "PasswordAuthentication no\n",
	} {
		checkFile(t, m, name, want)
	}
	for name, mode := range map[string]fs.FileMode{
		"etc/shadow": 0o640, "etc/gshadow": 0o640, "etc/passwd": 0o644, "var/lib/app/secret": 0o400, "home/ops": 0o700,
		"etc/sudoers.d/90-skerry-users": 0o440, "etc/ssh/authorized_keys.d/ops": 0o644, "state/users.json": 0o600,
		"state/ssh": 0o700, "state/ssh/ssh_host_ed25519_key": 0o600, "state/ssh/ssh_host_ecdsa_key.pub": 0o644,
	} {
		if info, err := os.Stat(m.path(name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v, want %o", name, info.Mode(), err, mode)
		}
	}
	if system.hostname != "server-1" || strings.Join(system.modules, ",") != "wireguard,bonding mode=4 miimon=100" {
		t.Errorf("hostname %q, modules %q", system.hostname, system.modules)
	}
	if entries, _ := os.ReadDir(m.path("/etc/ssh/authorized_keys.d")); len(entries) != 2 {
		t.Errorf("authorized keys of %v", entries)
	}
}

// TestAgainChangesNothing applies twice in one boot.
func TestAgainChangesNothing(t *testing.T) {
	for text, want := range map[string]string{
		everything: "",
		more:       "systemctl start var-mnt-data.mount\nsystemctl start var-swapfile.swap",
	} {
		m, system := newMachine(t)
		mustApply(t, m, text)
		before := snapshot(t, m.Root)
		system.ran = nil
		mustApply(t, m, text)
		if got := strings.Join(system.ran, "\n"); got != want {
			t.Errorf("the second time ran\n%s", got)
		}
		compare(t, before, snapshot(t, m.Root))
	}
}

// TestReboot: what is kept is the same, what is rendered is rendered again.
func TestReboot(t *testing.T) {
	for _, text := range []string{everything, more} {
		m, _ := newMachine(t)
		mustApply(t, m, text)
		before := snapshot(t, m.Root)
		reboot(t, m)
		mustApply(t, m, text)
		compare(t, before, snapshot(t, m.Root))
	}
}

// TestPowerCut cuts the power at every write in turn. Afterwards the machine
// boots, and is what it would have been without.
func TestPowerCut(t *testing.T) {
	for name, text := range map[string]string{"everything": everything, "more": more} {
		t.Run(name, func(t *testing.T) { cutEverywhere(t, text) })
	}
}

func cutEverywhere(t *testing.T, text string) {
	reference, _ := newMachine(t)
	mustApply(t, reference, text)
	want := snapshot(t, reference.Root)
	for cut := 0; ; cut++ {
		if cut > 100 {
			t.Fatal("the power cut never comes")
		}
		m, system := newMachine(t)
		system.after = cut
		err := applyAll(t, m, parse(t, text))
		if err == nil {
			break
		}
		if !errors.Is(err, errPowerCut) {
			t.Fatal(err)
		}
		system.after = -1
		reboot(t, m)
		mustApply(t, m, text)
		got := snapshot(t, m.Root)
		for name := range got {
			// Each machine has keys of its own.
			if strings.HasPrefix(name, "state/ssh/") {
				got[name] = want[name]
			}
		}
		compare(t, want, got)
	}
}

func TestFailuresAreAllReported(t *testing.T) {
	m, system := newMachine(t)
	system.refuse["one"] = errors.New("not found")
	loaded := parse(t, "skerry: {modules: [one, two], sysctls: {a.b: 1, vm.max_map_count: 1, c.d: 2}}\n")
	if err := modules(t.Context(), m, loaded); err == nil || !strings.Contains(err.Error(), "load module one: not found") || len(system.modules) != 2 {
		t.Errorf("modules: %v, tried %q", err, system.modules)
	}
	err := sysctls(t.Context(), m, loaded)
	if err == nil || !strings.Contains(err.Error(), "a.b") || !strings.Contains(err.Error(), "c.d") {
		t.Errorf("sysctls: %v", err)
	}
	checkFile(t, m, "proc/sys/vm/max_map_count", "1\n")
	if err := files(t.Context(), m, parse(t, "write_files: [{path: /etc/a, owner: nosuch}, {path: /etc/b}]\n")); err == nil ||
		!strings.Contains(err.Error(), `write_files[0]: owner of /etc/a: /etc/passwd has no "nosuch"`) {
		t.Errorf("files: %v", err)
	}
	checkFile(t, m, "etc/b", "")
}

func TestHostKeys(t *testing.T) {
	m, _ := newMachine(t)
	mustApply(t, m, "")
	private := m.path("/state/ssh/ssh_host_ed25519_key")
	first, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(private + ".pub"); err != nil { // a power cut came between the two
		t.Fatal(err)
	}
	mustApply(t, m, "")
	if second, err := os.ReadFile(private); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the key was made again: %v", err)
	}
	if public, err := os.ReadFile(private + ".pub"); err != nil || !bytes.HasPrefix(public, []byte("ssh-ed25519 ")) {
		t.Errorf("public key %q, %v", public, err)
	}
	if err := os.WriteFile(private, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := applyAll(t, m, parse(t, "")); err == nil || !strings.Contains(err.Error(), "ssh_host_ed25519_key") {
		t.Errorf("a damaged key: %v", err)
	}
	if data, _ := os.ReadFile(private); string(data) != "damaged" {
		t.Error("a damaged key was replaced")
	}
}

// TestForeignLinkIsNotFollowed: a user must not lead root out of a home.
func TestForeignLinkIsNotFollowed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make another user's link")
	}
	m, _ := newMachine(t)
	mustApply(t, m, "users: [{name: ops}]\n")
	link := m.path("/home/ops/.config")
	if err := os.Symlink(m.path("/etc/sudoers.d"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(link, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	err := applyAll(t, m, parse(t, "users: [{name: ops}]\nwrite_files: [{path: /home/ops/.config/app, owner: ops, content: x}]\n"))
	if err == nil || !strings.Contains(err.Error(), "is not followed") {
		t.Errorf("got %v", err)
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"vm.max_map_count":                 "/proc/sys/vm/max_map_count",
		"net.ipv4.conf.eth0/100.rp_filter": "/proc/sys/net/ipv4/conf/eth0.100/rp_filter",
		"net/ipv4/conf/eth0.100/rp_filter": "/proc/sys/net/ipv4/conf/eth0.100/rp_filter",
	} {
		if got := sysctlPath(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestRenderHosts(t *testing.T) {
	for _, test := range []struct{ old, want string }{
		{"", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 a\n"},
		{"127.0.1.1 old\n127.0.0.1\tlocalhost\n10.0.0.1 x", "127.0.0.1\tlocalhost\n10.0.0.1 x\n127.0.1.1 a\n"},
	} {
		if got := string(renderHosts([]byte(test.old), "a", "a")); got != test.want {
			t.Errorf("%q: got %q, want %q", test.old, got, test.want)
		}
	}
}

func checkFile(t *testing.T, m *Machine, name, want string) {
	t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil || string(data) != want {
		t.Errorf("%s: %v\ngot  %q\nwant %q", name, err, data, want)
	}
}

// snapshot lists every file with mode and content, and folders with mode.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(data)
		}
		name, err := filepath.Rel(root, path)
		files[name] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func compare(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s was %q, is %q", name, want[name], got[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is new: %q", name, got[name])
		}
	}
}
