// SPDX-License-Identifier: Apache-2.0

package apply

import (
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
	"proc/sys/vm/min_free_kbytes":                    "45056\n",
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
	return &Machine{Root: root, System: system, Networkd: &fakeNetworkd{}, Nft: new(fakeNft).load, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, system
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
