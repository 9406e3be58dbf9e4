// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// testDisk writes a disk of some data and many zeros, a whole number of MiB.
func testDisk(t *testing.T) string {
	t.Helper()
	data := make([]byte, 8<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for _, part := range [][]byte{data[:100_000], data[3<<20 : 4<<20], data[len(data)-512:]} {
		for i := range part {
			part[i] = byte(random.Uint32())
		}
	}
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func runQEMU(t *testing.T, args ...string) []byte {
	t.Helper()
	var complaints bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, complaints.Bytes())
	}
	return out
}

// convertedDisk makes the file of a conversion, as build.convert does inside the tools tree.
func convertedDisk(t *testing.T, c conversion, disk, id string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), c.file)
	runQEMU(t, c.args(disk, path)...)
	if c.stamp == nil {
		return path
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := c.stamp(file, id, testTime); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConversions: the same disk gives the same bytes, which QEMU finds no fault with, and which read as the disk.
func TestConversions(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Fatal("qemu-img is not installed: make deps does that")
	}
	disk := testDisk(t)
	for _, c := range []conversion{qcow2, vmdk, vhd} {
		t.Run(c.driver, func(t *testing.T) {
			one := convertedDisk(t, c, disk, uuidOf("one"))
			if !bytes.Equal(readFile(t, one), readFile(t, convertedDisk(t, c, disk, uuidOf("one")))) {
				t.Error("the same disk gives other bytes the second time")
			}
			if c.stamp != nil && bytes.Equal(readFile(t, one), readFile(t, convertedDisk(t, c, disk, uuidOf("two")))) {
				t.Error("another id gives the same bytes")
			}
			runQEMU(t, c.compareArgs(disk, one)...)
			if c.driver != "vpc" { // which QEMU can't check
				runQEMU(t, "qemu-img", "check", "-f", c.driver, one)
			}
			var info struct {
				Format string
				Size   int64 `json:"virtual-size"`
			}
			if err := json.Unmarshal(runQEMU(t, "qemu-img", "info", "-f", c.driver, "--output=json", one), &info); err != nil {
				t.Fatal(err)
			}
			if info.Format != c.driver || info.Size != 8<<20 {
				t.Errorf("it is %s with %d bytes", info.Format, info.Size)
			}
		})
	}
}

// TestStampRefuses: what is not as qemu-img writes it is not written to.
func TestStampRefuses(t *testing.T) {
	const size = 2 << 20
	footer := func(change func([]byte)) []byte {
		f := make([]byte, vhdFooter)
		copy(f, vhdCookie)
		binary.BigEndian.PutUint64(f[vhdSize:], size)
		binary.BigEndian.PutUint32(f[vhdType:], vhdFixed)
		change(f)
		binary.BigEndian.PutUint32(f[vhdChecksum:], sumVHDFooter(f))
		return f
	}
	if err := checkVHDFooter(footer(func([]byte) {}), size); err != nil {
		t.Errorf("a good footer: %v", err)
	}
	wrongSum := footer(func([]byte) {})
	wrongSum[100]++
	for want, f := range map[string][]byte{
		"not a footer":      footer(func(f []byte) { f[0] = 'x' }),
		"checksum":          wrongSum,
		"not fixed":         footer(func(f []byte) { f[vhdType+3] = 3 }),
		"bytes, and":        footer(func(f []byte) { f[vhdSize+7]++ }),
		"not a whole numbe": footer(func(f []byte) { binary.BigEndian.PutUint64(f[vhdSize:], size+512) }),
	} {
		at := int64(size)
		if want == "not a whole numbe" {
			at += 512
		}
		if err := checkVHDFooter(f, at); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}

	path := filepath.Join(t.TempDir(), "disk.vmdk")
	header := make([]byte, 2*vmdkSector)
	copy(header, vmdkMagic)
	binary.LittleEndian.PutUint64(header[vmdkDescriptor:], 1)
	binary.LittleEndian.PutUint64(header[vmdkDescriptor+8:], 1)
	for text, want := range map[string]string{
		"# Disk DescriptorFile\nCID=1a2b\nparentCID=ffffffff\n": "",
		"# Disk DescriptorFile\nparentCID=ffffffff\n":           "0 content ids",
		"CID=1\nCID=2\n": "2 content ids",
	} {
		copy(header[vmdkSector:], append([]byte(text), make([]byte, vmdkSector-len(text))...))
		if err := os.WriteFile(path, header, 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = stampVMDK(file, "0123456789abcdef", testTime)
		file.Close()
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: got %v, want %q", text, err, want)
		case want == "" && (err != nil || !bytes.Contains(readFile(t, path), []byte("\nCID=01234567\nparentCID=ffffffff\n\x00"))):
			t.Errorf("%q: %v: it is now %q", text, err, readFile(t, path)[vmdkSector:])
		}
	}
}

func TestWholeGiB(t *testing.T) {
	for size, want := range map[int64]int64{1: gib, gib: gib, gib + 1: 2 * gib} {
		if got := wholeGiB(size); got != want {
			t.Errorf("%d bytes: got %d, want %d", size, got, want)
		}
	}
}

// TestFormatNames: every format is a step of its own and a file of its own.
func TestFormatNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range formats {
		for _, name := range []string{"step " + f.name, "ending " + f.ending} {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
	got, want := len(options{formats: true, profile: defaultProfile, goarch: "arm64"}.wanted()), len(steps)+len(formatToolSteps)+len(formats)
	if got != want {
		t.Errorf("%d steps, want %d", got, want)
	}
}
