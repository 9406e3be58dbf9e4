// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestFirmwareOnly switches a machine on whose disk is empty: everything up to the operating system works without one.
func TestFirmwareOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	if err := CheckHost(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "empty.raw")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	lab, err := NewLab(t.Context(), LabConfig{Dir: filepath.Join(dir, "lab"), Image: image, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	m, err := lab.Add(t.Context(), MachineConfig{Name: "empty", Memory: 256, Disk: 1, UserData: []byte("#cloud-config\n"),
		NICs: []NIC{{}, {Network: NewNetwork(), Slot: 17, Model: "vmxnet3"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetLink(t.Context(), 1, false); err != nil {
		t.Fatal(err)
	}
	const offset = 4321
	if err := m.FlipByte(t.Context(), offset); err != nil {
		t.Fatal(err)
	}
	if err := m.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.FlipByte(t.Context(), offset); err == nil {
		t.Error("a byte of a running machine's disk was flipped")
	}
	if _, err := m.WaitConsole(t.Context(), 2*time.Minute, regexp.MustCompile(`BdsDxe: `)); err != nil {
		t.Fatal(err)
	}
	if found := Scan(m.Console().Lines()); len(found) == 0 {
		t.Errorf("the console of a machine that cannot boot looks healthy: %q", m.Console().Lines())
	}
	if err := m.SetLink(t.Context(), 1, true); err != nil {
		t.Error(err)
	}
	if err := m.SetSlot(1, 18); err == nil {
		t.Error("a card of a running machine was moved")
	}
	m.PowerCut()
	if m.Running() {
		t.Error("the machine runs after a power cut")
	}
	if err := m.SetSlot(1, 18); err != nil {
		t.Error(err)
	}
	if err := m.PowerOn(t.Context()); err != nil {
		t.Errorf("switch on again: %v", err)
	}
	if m.Boots() != 2 {
		t.Errorf("counted %d boots, want 2", m.Boots())
	}
	lab.Close()
	if m.Running() {
		t.Error("the machine outlived its lab")
	}
}

func TestVirtualizationFlag(t *testing.T) {
	for cpuinfo, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vmx sse\n":               true,
		"flags\t\t: fpu svm\n":                                   true,
		"flags\t\t: fpu sse vmxish\nvmx flags\t: vnmi preempt\n": false,
		"model name\t: vmx svm\nflags\t: hypervisor\n":           false,
		"": false,
	} {
		if got := hasVirtualization(bufio.NewScanner(strings.NewReader(cpuinfo))); got != want {
			t.Errorf("%q: got %v", cpuinfo, got)
		}
	}
}

func TestShellQuote(t *testing.T) {
	got := shellQuote([]string{"get", "a b", "it's", `{.items[*]}`})
	if want := `'get' 'a b' 'it'\''s' '{.items[*]}'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHardwareArguments(t *testing.T) {
	h := hardware{
		disk: "disk.qcow2", discs: []string{"a,b.iso"}, fwCfg: map[string]string{"opt/org.example/file": "x,y"},
		clock: time.Date(1970, 1, 1, 1, 0, 1, 0, time.FixedZone("east", 3600)),
	}
	got := strings.Join(h.args(), " ")
	for _, want := range []string{
		"-drive if=none,id=disc1,format=raw,media=cdrom,readonly=on,file=a,,b.iso -device ide-cd,drive=disc1",
		"-fw_cfg name=opt/org.example/file,file=x,,y",
		"-rtc base=1970-01-01T00:00:01",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	for want, h := range map[string]hardware{
		"-device ide-cd,drive=medium,bootindex=2":                                              {medium: "a.iso"},
		"-device usb-storage,bus=usb.0,drive=stick,serial=stick,removable=on,bootindex=0":      {stick: "s.qcow2", mediumFirst: true},
		"-device ide-hd,drive=disk,serial=disk,bootindex=1":                                    {controller: SATA},
		"-device pvscsi,id=scsi -device scsi-hd,bus=scsi.0,drive=disk,serial=disk,bootindex=1": {controller: PVSCSI},
		"-device virtio-blk-pci,drive=disk,serial=disk,bootindex=1":                            {},
	} {
		if got := strings.Join(h.args(), " "); !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	if got := strings.Join(hardware{}.args(), " "); strings.Contains(got, "-rtc") || strings.Contains(got, "-fw_cfg") {
		t.Errorf("a machine without anything special has %s", got)
	}
}
