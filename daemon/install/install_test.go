// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/live"
	"github.com/skerry-os/skerry/daemon/slot"
	"github.com/skerry-os/skerry/daemon/source"
)

const lsblk = `{"blockdevices": [
 {"name":"loop0","path":"/dev/loop0","type":"loop","size":800000000,"model":null,"serial":null,"ro":true,"partlabel":null,"partuuid":null,"mountpoints":[null],
  "children":[{"name":"loop0p3","path":"/dev/loop0p3","type":"part","size":1,"partlabel":"x","mountpoints":[null]}]},
 {"name":"sr0","path":"/dev/sr0","type":"rom","size":800000000,"ro":false,"mountpoints":[null]},
 {"name":"zram0","path":"/dev/zram0","type":"disk","size":8000000000,"ro":false,"mountpoints":["[SWAP]"]},
 {"name":"vdc","path":"/dev/vdc","type":"disk","size":8000000000,"ro":false,"mountpoints":[null], "children":[
   {"name":"vdc2","path":"/dev/vdc2","type":"part","size":1,"partlabel":"skerry-live-root","mountpoints":[null],
    "children":[{"name":"root","path":"/dev/mapper/root","type":"crypt","size":1,"mountpoints":["/"]}]}]},
 {"name":"vda","path":"/dev/vda","type":"disk","size":10737418240,"model":" QEMU  ","serial":"disk","ro":false,"mountpoints":[null]},
 {"name":"vdb","path":"/dev/vdb","type":"disk","size":10737418240,"serial":"b","ro":false,"mountpoints":[null], "children":[
   {"name":"vdb1","path":"/dev/vdb1","type":"part","size":1,"partlabel":"skerry-esp","mountpoints":[null]},
   {"name":"vdb2","path":"/dev/vdb2","type":"part","size":1,"partlabel":"skerry-state","mountpoints":[null]}]},
 {"name":"vdd","path":"/dev/vdd","type":"disk","size":10737418240,"ro":true,"mountpoints":[null]},
 {"name":"mmcblk0","path":"/dev/mmcblk0","type":"disk","size":8589934592,"model":null,"serial":"0xdeadbeef","ro":false,"mountpoints":[null]},
 {"name":"mmcblk0boot0","path":"/dev/mmcblk0boot0","type":"disk","size":4194304,"model":null,"serial":null,"ro":true,"mountpoints":[null]},
 {"name":"vde","path":"/dev/vde","type":"disk","size":1000000000,"ro":false,"mountpoints":[null]},
 {"name":"vdf","path":"/dev/vdf","type":"disk","size":10737418240,"ro":false,"mountpoints":["/var/mnt/x"]},
 {"name":"vdg","path":"/dev/vdg","type":"disk","size":10737418240,"ro":false,"mountpoints":[null],
  "children":[{"name":"md0","path":"/dev/md0","type":"raid1","size":1,"mountpoints":[null]}]}
]}`

// installer answers as a machine with these disks would.
func installer(t *testing.T, calls *[]string) *Installer {
	t.Helper()
	byID, blocks := t.TempDir(), t.TempDir()
	device := filepath.Join(blocks, "mmcblk0/device")
	if err := errors.Join(os.MkdirAll(device, 0o755), os.WriteFile(filepath.Join(device, "name"), []byte("DG4016\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return &Installer{
		Medium:  live.Medium{Root: "/dev/r", Verity: "/dev/v", ESP: "/dev/e", RootHash: strings.Repeat("0123456789abcdef", 4)},
		Version: "1.2.3", Definitions: "../../overlay/usr/lib/repart.d", ByID: byID, Blocks: blocks, BIOS: "/bios", Dir: filepath.Join(t.TempDir(), "install"),
		Tell: func(Progress) {}, Log: slog.New(slog.DiscardHandler),
		Run: func(_ context.Context, program string, args ...string) (string, error) {
			*calls = append(*calls, filepath.Base(program)+" "+strings.Join(args, " "))
			switch filepath.Base(program) {
			case "lsblk":
				return lsblk, nil
			case "wipefs":
				switch args[len(args)-1] {
				case "/dev/vdb":
					return `{"signatures": [{"device":"vdb","offset":"0x200","type":"gpt","uuid":"u","label":null},{"device":"vdb","offset":"0x1fe","type":"PMBR","uuid":null,"label":null}]}`, nil
				case "/dev/vdc":
					return `{"signatures": [{"type":"iso9660","label":"SKERRY"}]}`, nil
				}
				return "", nil
			}
			return "", errors.New("is not to be run")
		},
	}
}

func TestDisks(t *testing.T) {
	var calls []string
	disks, err := installer(t, &calls).Disks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range disks {
		got = append(got, strings.Join([]string{d.Name, d.Model, d.Serial, d.Contents, d.Unusable, map[bool]string{true: "installed"}[d.Installed]}, "|"))
	}
	want := []string{
		"mmcblk0|DG4016|0xdeadbeef|||",
		"mmcblk0boot0||||read-only|",
		"vda|QEMU|disk|||",
		"vdb||b|partition table (skerry-esp, skerry-state)||installed",
		`vdc|||iso9660 "SKERRY" (skerry-live-root)|this system runs from it|`,
		"vdd||||read-only|",
		"vde||||too small: Skerry needs 6.4 GB|",
		"vdf||||in use: mounted on /var/mnt/x|",
		"vdg||||in use: a part of /dev/md0 (raid1)|",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	table := Table(disks)
	for _, want := range []string{"10.7 GB", "QEMU", "empty", "Skerry", "this system runs from it"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
}

// TestInstallRefuses: nothing is run that writes.
func TestInstallRefuses(t *testing.T) {
	for _, test := range []struct {
		name, says string
		disk       Disk
		wipe       bool
		change     func(*Installer)
	}{
		{name: "data", says: "the disk is not empty", disk: Disk{Path: "/dev/vdb", Serial: "b", Bytes: 10737418240}},
		{name: "the medium", says: "runs from it", disk: Disk{Path: "/dev/vdc", Bytes: 8000000000}, wipe: true},
		{name: "another disk by now", says: "another disk than it was", disk: Disk{Path: "/dev/vda", Serial: "other", Bytes: 10737418240}},
		{name: "gone", says: "there is none named", disk: Disk{Path: "/dev/vdz"}},
		{name: "not live", says: "doesn't say what this system runs from", disk: Disk{Path: "/dev/vda"}, change: func(i *Installer) { i.Medium.ESP = "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var calls []string
			i := installer(t, &calls)
			if test.change != nil {
				test.change(i)
			}
			err := i.Install(t.Context(), test.disk, test.wipe, nil, nil)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
			for _, call := range calls {
				if !strings.HasPrefix(call, "lsblk ") && !strings.HasPrefix(call, "wipefs --json --no-act ") {
					t.Errorf("ran %s", call)
				}
			}
		})
	}
}

func TestOneInstallationAtATime(t *testing.T) {
	var calls []string
	i := installer(t, &calls)
	unlock, err := i.lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Install(t.Context(), Disk{Path: "/dev/vda"}, false, nil, nil); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("got %v", err)
	}
	unlock()
	if unlock, err = i.lock(); err != nil {
		t.Error(err)
	} else {
		unlock()
	}
}

// TestDefinitions: the image's own definitions are completed, and none is forgotten.
func TestDefinitions(t *testing.T) {
	var calls []string
	i := installer(t, &calls)
	document := &source.Document{UserData: []byte("#cloud-config\nhostname: a\n"), MetaData: []byte("instance-id: i\n")}
	esp := t.TempDir()
	if err := os.MkdirAll(filepath.Join(esp, slot.UKIDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := i.define(esp, document, nil); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(i.definitions(), "*.conf"))
	if err != nil || len(names) < 6 {
		t.Fatalf("definitions: %v, %v", names, err)
	}
	for name, want := range map[string]string{
		espDefinition: "[Partition]\nLabel=skerry-esp\nFormat=vfat\nCopyFiles=" + esp + ":/\nExcludeFiles=" + esp + "/EFI/Linux/skerry_1.2.3.efi.extra.d\n" +
			"ExcludeFiles=" + esp + "/EFI/skerry\nCopyFiles=" + i.Dir + "/esp-more/EFI/skerry:/EFI/skerry\n",
		rootDefinition:   "[Partition]\nLabel=skerry_1.2.3\nUUID=01234567-89ab-cdef-0123-456789abcdef\nCopyBlocks=/dev/r\nReadOnly=yes\n",
		verityDefinition: "[Partition]\nLabel=skerry_1.2.3\nUUID=01234567-89ab-cdef-0123-456789abcdef\nCopyBlocks=/dev/v\nReadOnly=yes\n",
		stateDefinition:  "[Partition]\nCopyFiles=" + i.Dir + "/state:/\n",
	} {
		got, err := os.ReadFile(filepath.Join(i.definitions(), name+".d/install.conf"))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(i.definitions(), biosDefinition)); err != nil || !strings.Contains(string(text), "CopyBlocks=/bios/core.img\n") {
		t.Errorf("%s: got %q, %v", biosDefinition, text, err)
	}
	if _, err := os.Stat(filepath.Join(i.definitions(), dataDefinition)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("DATA is made before its size is known: %v", err)
	}
	if err := sameDocument(filepath.Join(i.Dir, "state"), document); err != nil {
		t.Error(err)
	}
	for _, other := range []*source.Document{nil, {UserData: []byte("#cloud-config\n")}} {
		if err := sameDocument(filepath.Join(i.Dir, "state"), other); err == nil {
			t.Errorf("the same as %+v", other)
		}
	}
	// Without a cloud-config STATE is empty.
	if err := os.RemoveAll(i.Dir); err != nil {
		t.Fatal(err)
	}
	if err := i.define(esp, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(i.definitions(), stateDefinition+".d")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("STATE gets something: %v", err)
	}
}

// TestSeal: STATE is encrypted as the cloud-config says, and nobody sees the passphrase.
func TestSeal(t *testing.T) {
	const phrase = "correct horse battery"
	for _, test := range []struct {
		section *configschema.Storage
		line    string
		args    []string // KEY is the file with the passphrase
	}{
		{nil, "", nil},
		{&configschema.Storage{}, "", nil},
		{&configschema.Storage{Encryption: "tpm2"}, "Encrypt=tpm2\n", []string{"--tpm2-device=auto", "--tpm2-pcrs=7"}},
		{&configschema.Storage{Encryption: "tpm2", Passphrase: phrase}, "Encrypt=key-file+tpm2\n",
			[]string{"--tpm2-device=auto", "--tpm2-pcrs=7", "--key-file=KEY"}},
		{&configschema.Storage{Encryption: "passphrase", Passphrase: phrase}, "Encrypt=key-file\n", []string{"--key-file=KEY"}},
	} {
		var calls []string
		i := installer(t, &calls)
		i.CheckTPM = func(context.Context) error { return nil }
		if err := os.MkdirAll(i.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		sealed, err := i.seal(t.Context(), test.section)
		if err != nil {
			t.Fatal(err)
		}
		esp := t.TempDir()
		if err := os.MkdirAll(filepath.Join(esp, slot.UKIDir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := i.define(esp, nil, sealed); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(i.definitions(), stateDefinition+".d/install.conf"))
		if test.line == "" && !errors.Is(err, os.ErrNotExist) || test.line != "" && string(got) != "[Partition]\n"+test.line {
			t.Errorf("%+v: %q, %v", test.section, got, err)
		}
		args := sealed.arguments()
		for n, arg := range args {
			file, ok := strings.CutPrefix(arg, "--key-file=")
			if !ok {
				continue
			}
			args[n] = "--key-file=KEY"
			text, err := os.ReadFile(file)
			info, statErr := os.Stat(file)
			if err != nil || statErr != nil || string(text) != phrase || info.Mode().Perm() != 0o600 {
				t.Errorf("%+v: passphrase %q, %v, %v", test.section, text, err, info)
			}
		}
		if !slices.Equal(args, test.args) {
			t.Errorf("%+v: arguments %q", test.section, args)
		}
	}

	i := installer(t, new([]string))
	i.CheckTPM = func(context.Context) error { return errors.New("no TPM") }
	if _, err := i.seal(t.Context(), &configschema.Storage{Encryption: "tpm2"}); err == nil || !strings.Contains(err.Error(), "no TPM") {
		t.Errorf("without a TPM: %v", err)
	}
}

func TestSameFiles(t *testing.T) {
	var calls []string
	i := installer(t, &calls)
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	medium, disk := t.TempDir(), t.TempDir()
	if err := i.sameFiles(medium, disk); err == nil {
		t.Error("a medium without a boot loader is taken for one")
	}
	write(filepath.Join(medium, "EFI/BOOT/BOOTX64.EFI"), "loader")
	write(filepath.Join(medium, i.liveAddons(), "live.addon.efi"), "live")
	if err := i.sameFiles(medium, disk); err == nil {
		t.Error("a disk without a boot loader is the same")
	}
	write(filepath.Join(disk, "EFI/BOOT/BOOTX64.EFI"), "loader")
	if err := i.sameFiles(medium, disk); err != nil {
		t.Error(err)
	}
	write(filepath.Join(disk, i.liveAddons(), "live.addon.efi"), "live")
	if err := i.sameFiles(medium, disk); err == nil || !strings.Contains(err.Error(), "live system") {
		t.Errorf("got %v", err)
	}
	if err := os.RemoveAll(filepath.Join(disk, i.liveAddons())); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(disk, "EFI/BOOT/BOOTX64.EFI"), "loaded")
	if err := i.sameFiles(medium, disk); err == nil || !strings.Contains(err.Error(), "not as it was written") {
		t.Errorf("got %v", err)
	}
}

// TestMinimumSize: the partitions of the image fit into the smallest disk that is taken.
func TestMinimumSize(t *testing.T) {
	names, err := filepath.Glob("../../overlay/usr/lib/repart.d/*.conf")
	if err != nil || len(names) < 7 {
		t.Fatalf("definitions: %v, %v", names, err)
	}
	var total int64
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^SizeMinBytes=(\d+)([MG])$`).FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("%s has no smallest size", name)
		}
		size, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += size << map[string]int{"M": 20, "G": 30}[m[2]]
	}
	const table = 2 << 20 // and what aligns the partitions
	if total+table > MinimumSize || total < MinimumSize/2 {
		t.Errorf("the partitions are at least %d bytes, and %d are asked for", total, int64(MinimumSize))
	}
}

func TestLastLines(t *testing.T) {
	const text = "Wiped.\na\rb\rc\n\n  \nFailed to mount.\n(sd-copy) failed.\n"
	if got, want := lastLines(text), "b; c; Failed to mount.; (sd-copy) failed."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := lastLines(""); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

// TestFindPartitions: partitions that udev has not named yet are waited for.
func TestFindPartitions(t *testing.T) {
	var calls []string
	i := installer(t, &calls)
	looks := 0
	i.Run = func(_ context.Context, program string, _ ...string) (string, error) {
		if filepath.Base(program) == "udevadm" {
			return "", nil
		}
		if looks++; looks < 3 {
			return `{"blockdevices": [{"name":"vda","path":"/dev/vda","type":"disk","size":1}]}`, nil
		}
		return `{"blockdevices": [{"name":"vda","path":"/dev/vda","type":"disk","size":1,"children":[
			{"path":"/dev/vda1","type":"part","size":1,"partlabel":"skerry-esp","partuuid":"a"},
			{"path":"/dev/vda2","type":"part","size":1,"partlabel":"skerry_1.2.3","partuuid":"01234567-89AB-cdef-0123-456789abcdef"},
			{"path":"/dev/vda6","type":"part","size":1,"partlabel":"skerry-state","partuuid":"b"}]}]}`, nil
	}
	i.Medium.RootHash = strings.Repeat("0123456789abcdef", 2) + strings.Repeat("fedcba9876543210", 2)
	i.wait = 2 * time.Second
	if _, err := i.find(t.Context(), Disk{Path: "/dev/vda"}); err == nil || !strings.Contains(err.Error(), "it has no hash tree") {
		t.Errorf("without a hash tree: %v", err)
	}
	looks = 0
	run := i.Run
	i.Run = func(ctx context.Context, program string, args ...string) (string, error) {
		out, err := run(ctx, program, args...)
		return strings.Replace(out, `{"path":"/dev/vda6"`, `{"path":"/dev/vda3","type":"part","size":1,"partuuid":"fedcba98-7654-3210-fedc-ba9876543210"},{"path":"/dev/vda6"`, 1), err
	}
	i.wait = 10 * time.Second
	got, err := i.find(t.Context(), Disk{Path: "/dev/vda"})
	if want := (partitions{"/dev/vda2", "/dev/vda3", "/dev/vda1", "/dev/vda6"}); err != nil || got != want || looks != 3 {
		t.Errorf("got %+v after %d looks, %v", got, looks, err)
	}
}
