// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/daemon/efiaddon"
	"github.com/skerry-os/skerry/daemon/slot"
)

// machine is one with two slots, of which the first has version 1.0.0 and runs, in a folder.
type machine struct {
	*Upgrader
	t     *testing.T
	parts map[string]*part // by name: root-a, verity-a, root-b, verity-b
	key   minisign.PrivateKey
	log   bytes.Buffer
	calls []string // of systemd-sysupdate
	// broken has systemd-sysupdate fail before it writes the UKI.
	broken error
}

// part is a partition: a file, and what the partition table has of it.
type part struct{ label, uuid, kind string }

const slotSize = 64 << 10

// partNames are in the order of the disk.
var partNames = []string{"root-a", "verity-a", "root-b", "verity-b"}

func newMachine(t *testing.T) *machine {
	t.Helper()
	_, key, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, key: key, parts: map[string]*part{}}
	root := t.TempDir()
	m.Upgrader = &Upgrader{Root: root, Trial: DefaultTerms, Run: m.sysupdate, Log: slog.New(slog.NewTextHandler(&m.log, nil)),
		Keys: []string{publicOf(t, key)}, Now: func() time.Time { return time.Unix(1767225600, 0) }}
	m.Slots = slot.Reader{Root: root, Lsblk: m.lsblk}
	for i, name := range partNames {
		kind := []string{"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"}[i%2]
		m.parts[name] = &part{label: slot.EmptyLabel, uuid: fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i), kind: kind}
		m.write("/dev/"+name, make([]byte, slotSize))
	}
	m.write("/state/.keep", nil)
	m.write(bootIDFile, []byte("boot-1\n"))
	m.put("a", "1.0.0")
	m.addUKI("skerry_1.0.0.efi", "1.0.0")
	m.boot("1.0.0", false)
	return m
}

func publicOf(t *testing.T, key minisign.PrivateKey) string {
	t.Helper()
	return key.Public().(minisign.PublicKey).String()
}

// hashOf is the root hash that a version has in these tests.
func hashOf(version string) string {
	sum := sha256.Sum256([]byte("root " + version))
	return hex.EncodeToString(sum[:])
}

func (m *machine) write(name string, data []byte) {
	m.t.Helper()
	path := filepath.Join(m.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// put labels a slot as having a version.
func (m *machine) put(letter, version string) {
	root, verity := slot.UUIDs(hashOf(version))
	m.parts["root-"+letter].uuid, m.parts["root-"+letter].label = root, "skerry_"+version
	m.parts["verity-"+letter].uuid, m.parts["verity-"+letter].label = verity, "skerry_"+version
}

// ukiOf is a PE file with a command line, as a UKI is.
func ukiOf(t *testing.T, version string) []byte {
	t.Helper()
	stub, err := os.ReadFile("../efiaddon/testdata/addon.stub")
	if err != nil {
		t.Fatal(err)
	}
	uki, err := efiaddon.Make(stub, "roothash="+hashOf(version)+" ro quiet")
	if err != nil {
		t.Fatal(err)
	}
	return uki
}

func (m *machine) addUKI(name, version string) { m.write("/efi/EFI/Linux/"+name, ukiOf(m.t, version)) }

// boot has a version run, in a boot that is counted or not.
func (m *machine) boot(version string, counted bool) {
	m.t.Helper()
	m.write("/proc/cmdline", []byte("roothash="+hashOf(version)+" ro\n"))
	m.write("/usr/lib/os-release", []byte("ID=skerry\nIMAGE_VERSION=\""+version+"\"\n"))
	if err := os.RemoveAll(filepath.Join(m.Root, countedFile)); err != nil {
		m.t.Fatal(err)
	}
	if counted {
		m.write(countedFile, []byte("x"))
	}
}

// lsblk is what lsblk says of this machine's disk, and of a copy of it, which is another's.
func (m *machine) lsblk(context.Context) ([]byte, error) {
	running, err := m.Slots.RunningRootHash()
	if err != nil {
		return nil, err
	}
	runs, _ := slot.UUIDs(running)
	type device map[string]any
	var children, copies []device
	for _, name := range partNames {
		p := m.parts[name]
		d := device{"path": filepath.Join(m.Root, "/dev/"+name), "type": "part", "partuuid": p.uuid, "partlabel": p.label,
			"parttype": p.kind, "size": slotSize, "mountpoints": []any{nil}}
		copies = append(copies, device{"path": "/dev/copy-" + name, "type": "part", "partuuid": p.uuid, "partlabel": p.label, "parttype": p.kind, "size": slotSize})
		if p.uuid == runs {
			d["children"] = []device{{"path": "/dev/mapper/root", "type": "crypt", "partuuid": nil, "partlabel": nil, "mountpoints": []any{"/"}}}
		}
		children = append(children, d)
	}
	return json.Marshal(device{"blockdevices": []device{
		{"path": "/dev/sr0", "type": "rom", "partuuid": nil, "size": 1},
		{"path": "/dev/copy", "type": "disk", "children": copies},
		{"path": "/dev/vda", "type": "disk", "children": children},
	}})
}

// sysupdate does what systemd-sysupdate does with these definitions.
func (m *machine) sysupdate(_ context.Context, name string, args ...string) error {
	m.calls = append(m.calls, name+" "+strings.Join(args[1:], " "))
	definitions := strings.TrimPrefix(args[0], "--definitions=")
	setting := func(file, key string) string {
		text, err := os.ReadFile(filepath.Join(definitions, file))
		if err != nil {
			m.t.Fatal(err)
		}
		return regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(string(text))[1]
	}
	protected := "skerry_" + setting("10-root.transfer", "ProtectVersion")
	var free []*part
	for _, n := range partNames {
		if m.parts[n].label != protected {
			m.parts[n].label = slot.EmptyLabel
			free = append(free, m.parts[n])
		}
	}
	if args[len(args)-1] == "vacuum" {
		return nil
	}
	version := args[len(args)-1]
	for i, kind := range []string{"root", "verity"} {
		found, err := filepath.Glob(filepath.Join(setting("10-root.transfer", "Path"), "skerry_"+version+"_*."+kind))
		if err != nil || len(found) != 1 {
			m.t.Fatalf("staged are %v, %v", found, err)
		}
		data, err := os.ReadFile(found[0])
		if err != nil {
			m.t.Fatal(err)
		}
		for n, p := range m.parts {
			if p == free[i] {
				m.write("/dev/"+n, append(data, make([]byte, slotSize-len(data))...))
			}
		}
		free[i].label = "skerry_" + version
		free[i].uuid = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "skerry_"+version+"_"), "."+kind)
	}
	if m.broken != nil {
		return m.broken
	}
	uki, err := os.ReadFile(filepath.Join(setting("30-uki.transfer", "Path"), "skerry_"+version+".efi"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("/efi/EFI/Linux/skerry_"+version+"+3-0.efi", uki)
	return nil
}

// ukis are the names on the EFI system partition.
func (m *machine) ukis() string {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.Root, "/efi/EFI/Linux"))
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// renameUKI does what systemd-boot does.
func (m *machine) renameUKI(from, to string) {
	m.t.Helper()
	dir := filepath.Join(m.Root, "/efi/EFI/Linux")
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) remembered() Record {
	m.t.Helper()
	r, err := m.record()
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

// payload makes one for a version, signed by the machine's key.
func (m *machine) payload(version string, change ...func(*Manifest)) string {
	m.t.Helper()
	dir := m.t.TempDir()
	manifest := Manifest{Format: 1, Version: version, Architecture: runtime.GOARCH, Kubernetes: "v1.37.2", RootHash: hashOf(version)}
	manifest.Files.Root = packed(m.t, dir, "root.erofs.zst", bytes.Repeat([]byte("root "+version), 1000))
	manifest.Files.Verity = packed(m.t, dir, "root.verity.zst", bytes.Repeat([]byte("verity "+version), 100))
	manifest.Files.UKI = packed(m.t, dir, "skerry.efi.zst", ukiOf(m.t, version))
	for _, c := range change {
		c(&manifest)
	}
	signed(m.t, dir, manifest, m.key)
	return dir
}

func signed(t *testing.T, dir string, manifest Manifest, key minisign.PrivateKey) {
	t.Helper()
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{ManifestFile: text, SignatureFile: minisign.Sign(key, text)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func packed(t *testing.T, dir, name string, data []byte) File {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	compressed := encoder.EncodeAll(data, nil)
	if err := errors.Join(encoder.Close(), os.WriteFile(filepath.Join(dir, name), compressed, 0o644)); err != nil {
		t.Fatal(err)
	}
	content := func(b []byte) Content {
		sum := sha256.Sum256(b)
		return Content{Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])}
	}
	return File{Name: name, Content: content(compressed), Unpacked: content(data)}
}
