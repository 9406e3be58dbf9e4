// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/source"
)

// fakeSystem remembers what it was asked, and lets a test refuse it.
type fakeSystem struct {
	root     string
	hostname string
	modules  []string
	owners   map[string]ownership // by file name, the last one counts
	refuse   map[string]error     // by module, program or command, or "sudoers"
	after    int                  // writes until the power is cut; negative for never

	ran       []string          // programs with their arguments
	executed  []string          // commands of the user's
	scripts   []string          // what was in the files they ran
	command   func() error      // what running one does
	commanded []string          // the environment of the last
	blkid     map[string]string // what is on a device
	announced string
	now       time.Time
	slept     time.Duration
	onSleep   func()
}

var errPowerCut = errors.New("power cut")

func (s *fakeSystem) SetHostname(name string) error { s.hostname = name; return nil }

func (s *fakeSystem) LoadModule(_ context.Context, name string, args []string) error {
	s.modules = append(s.modules, strings.Join(append([]string{name}, args...), " "))
	return s.refuse[name]
}

func (s *fakeSystem) CheckSudoers(context.Context, string) error { return s.refuse["sudoers"] }

// Chown is called between writing a file and giving it its name: the worst
// moment for a power cut.
func (s *fakeSystem) Chown(file *os.File, uid, gid int) error {
	if s.after == 0 {
		return errPowerCut
	}
	s.after--
	s.owners[filepath.Base(file.Name())] = ownership{uid, gid}
	return nil
}

// exitCode is the error of a program.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e exitCode) ExitCode() int { return int(e) }

func (s *fakeSystem) Run(_ context.Context, program string, args ...string) (string, error) {
	line := strings.ReplaceAll(strings.Join(append([]string{filepath.Base(program)}, args...), " "), s.root, "")
	if s.after == 0 {
		return "", errPowerCut
	}
	if err := s.refuse[line]; err != nil {
		return "", err
	}
	device := ""
	if len(args) > 0 {
		device = strings.TrimPrefix(args[len(args)-1], s.root)
	}
	if filepath.Base(program) != "blkid" {
		s.ran = append(s.ran, line)
	}
	switch filepath.Base(program) {
	case "blkid":
		if text, ok := s.blkid[device]; ok {
			return text, nil
		}
		return "", fmt.Errorf("blkid: %w", exitCode(2))
	case "mkswap":
		if strings.HasPrefix(device, "/var/") {
			file, err := os.OpenFile(args[len(args)-1], os.O_WRONLY, 0)
			if err != nil {
				return "", err
			}
			_, err = file.WriteAt([]byte("SWAPSPACE2"), 4086)
			return "", errors.Join(err, file.Close())
		}
		s.blkid[device] = "TYPE=swap\n"
	case "systemd-repart":
		s.blkid[device] = "DEVNAME=x\nPTTYPE=gpt\n"
	case "mkfs.ext4":
		s.blkid[device] = "TYPE=ext4\nLABEL=" + args[len(args)-2] + "\n"
	}
	return "", nil
}

func (s *fakeSystem) Execute(_ context.Context, command, environment []string, line func(string)) error {
	text := strings.Join(command, " ")
	if file, ours := strings.CutPrefix(text, s.root); ours {
		script, err := os.ReadFile(text)
		if err != nil {
			return err
		}
		text, s.scripts = file, append(s.scripts, string(script))
	}
	s.executed, s.commanded = append(s.executed, text), environment
	line("output of " + text)
	if s.command != nil {
		return s.command()
	}
	return s.refuse[text]
}

func (s *fakeSystem) Announce(text string) error { s.announced += text; return nil }
func (s *fakeSystem) Now() time.Time             { return s.now }
func (s *fakeSystem) SetClock(t time.Time) error { s.now = t; return nil }

func (s *fakeSystem) Sleep(ctx context.Context, d time.Duration) error {
	s.now, s.slept = s.now.Add(d), s.slept+d
	if s.onSleep != nil {
		s.onSleep()
	}
	return ctx.Err()
}

// image is what the image has below its root, and the kernel shows there.
var image = map[string]string{
	"etc/passwd":                                     "root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"etc/shadow":                                     "root:*:20000:0:99999:7:::\nsshd:!:20000::::::\n",
	"etc/group":                                      "root:x:0:\nadm:x:4:syslog\nsudo:x:27:\nnogroup:x:65534:\n",
	"etc/gshadow":                                    "root:*::\nadm:*::syslog\nsudo:*::\n",
	"etc/hosts":                                      "127.0.0.1 localhost\n::1 localhost\n",
	"etc/skel/.profile":                              "# profile\n",
	"etc/machine-id":                                 "0123456789abcdef0123456789abcdef\n",
	"etc/ssl/certs/ca-certificates.crt":              imageCert,
	"etc/ssl/certs/1234abcd.0":                       imageCert,
	"usr/share/zoneinfo/Etc/UTC":                     "UTC",
	"usr/share/zoneinfo/Europe/Oslo":                 "CET",
	"proc/sys/vm/max_map_count":                      "65530\n",
	"proc/sys/net/conf/a.b/filter":                   "0\n",
	"proc/self/mountinfo":                            "29 1 254:0 / / ro - erofs /dev/mapper/root ro\n30 29 8:3 / /var rw - ext4 /dev/sda3 rw\n31 29 0:5 / /run rw - tmpfs tmpfs rw\n",
	"proc/meminfo":                                   "MemTotal:        16384 kB\n",
	"proc/swaps":                                     "Filename Type Size Used Priority\n",
	"proc/uptime":                                    "12.34 40.00\n",
	"sys/devices/pci/sda/size":                       "1",
	"sys/devices/pci/sda/sda2/partition":             "2",
	"sys/devices/pci/sda/sda3/partition":             "3",
	"sys/devices/virtual/dm-0/slaves/sda2/partition": "2",
	"sys/devices/pci/vdb/size":                       "1",
	"sys/devices/pci/vdb/vdb1/partition":             "1",
	"dev/sda":                                        "", "dev/sda3": "", "dev/vdb": "", "dev/vdb1": "",
}

// links are those of the image and the kernel.
var links = map[string]string{
	"sys/class/block/sda":               "../../devices/pci/sda",
	"sys/class/block/sda2":              "../../devices/pci/sda/sda2",
	"sys/class/block/sda3":              "../../devices/pci/sda/sda3",
	"sys/class/block/dm-0":              "../../devices/virtual/dm-0",
	"sys/class/block/vdb":               "../../devices/pci/vdb",
	"sys/class/block/vdb1":              "../../devices/pci/vdb/vdb1",
	"sys/dev/block/254:0":               "../../devices/virtual/dm-0",
	"sys/dev/block/8:3":                 "../../devices/pci/sda/sda3",
	"dev/disk/by-partlabel/skerry-data": "../../sda3",
	"dev/disk/by-label/data":            "../../vdb1",
	"mnt":                               "var/mnt",
}

const imageCert = "-----BEGIN CERTIFICATE-----\nimage\n-----END CERTIFICATE-----\n"

// start lays out what a boot begins with.
func start(t *testing.T, root string) {
	t.Helper()
	for name, content := range image {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range links {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "var/mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// inMemory returns a folder for the test. The stages wait for the disk at every
// write, and a disk that others are using makes minutes of that.
func inMemory(t *testing.T) string {
	t.Helper()
	const memory = "/dev/shm"
	var memoryFS unix.Statfs_t
	if err := unix.Statfs(memory, &memoryFS); err != nil || memoryFS.Type != unix.TMPFS_MAGIC {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "skerry-apply-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func newMachine(t *testing.T) (*Machine, *fakeSystem) {
	t.Helper()
	root := inMemory(t)
	start(t, root)
	system := &fakeSystem{root: root, owners: map[string]ownership{}, refuse: map[string]error{}, after: -1,
		blkid: map[string]string{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return &Machine{Root: root, System: system, Networkd: &fakeNetworkd{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, system
}

// reboot gives the machine the image's /etc again, and an empty /run; /state,
// /var and /home stay, and so does what /etc has of STATE.
func reboot(t *testing.T, m *Machine) {
	t.Helper()
	kept := filepath.Join(m.Root, "kept")
	err := os.Rename(m.path("/etc/rancher"), kept)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, gone := range []string{"/etc", "/run"} {
		if err := os.RemoveAll(m.path(gone)); err != nil {
			t.Fatal(err)
		}
	}
	start(t, m.Root)
	if err == nil {
		if err := os.Rename(kept, m.path("/etc/rancher")); err != nil {
			t.Fatal(err)
		}
	}
	m.System.(*fakeSystem).ran = nil
}

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
