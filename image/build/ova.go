// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"text/template"
	"time"
)

const (
	ovaFile = "skerry.ova"
	// ovaDisk is the size of its disk in GiB. It has room for all partitions, so that a machine starts from it as it is: what is
	// free takes no space in the file.
	ovaDisk = 16
)

// vmdk is of the kind that an OVA has: compressed, written front to back. The adapter is that of any SCSI
// controller; which one it is the descriptor of the machine says.
var vmdk = conversion{driver: "vmdk", options: []string{"-o", "subformat=streamOptimized,adapter_type=lsilogic"},
	file: "disk.vmdk", stamp: stampVMDK}

func ovaKey(b *build, d *digest) {
	vmdk.key(b, d)
	d.text(fmt.Sprint(ovaDisk))
	d.tree(b.source("image/ova"))
}

// An ova is a virtual machine in one file: the descriptor of its hardware, hashes, its disk.
type ova struct {
	name        string // of the files in it, without ending
	Version     string
	Disk        string // file of the disk
	Bytes       int64  // of that file
	CapacityGiB int    // of the disk
}

// makeOVA makes skerry.ova.
func makeOVA(ctx context.Context, b *build, dir string) error {
	if err := b.convert(ctx, dir, vmdk, ovaDisk*gib); err != nil {
		return err
	}
	when, err := b.time()
	if err != nil {
		return err
	}
	disk := filepath.Join(dir, vmdk.file)
	info, err := os.Stat(disk)
	if err != nil {
		return err
	}
	machine := ova{name: b.name(), Version: b.version(), Disk: b.fileName("vmdk"), Bytes: info.Size(), CapacityGiB: ovaDisk}
	descriptor, err := machine.descriptor(b.source("image/ova/machine.ovf"))
	if err != nil {
		return err
	}
	if err := machine.pack(filepath.Join(dir, ovaFile), descriptor, disk, when); err != nil {
		return fmt.Errorf("pack %s: %w", ovaFile, err)
	}
	return os.Remove(disk)
}

func (o ova) descriptor(source string) ([]byte, error) {
	t, err := template.ParseFiles(source)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = t.Execute(&text, o)
	return text.Bytes(), err
}

// pack writes the archive: the descriptor first, as the format asks, then the hashes, then the disk.
func (o ova) pack(path string, descriptor []byte, disk string, when time.Time) error {
	content, err := contentOf(disk)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(descriptor)
	hashes := fmt.Appendf(nil, "SHA256(%s.ovf)= %s\nSHA256(%s)= %s\n", o.name, hex.EncodeToString(sum[:]), o.Disk, content.SHA256)
	from, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	out := tar.NewWriter(to)
	for _, f := range []struct {
		name string
		size int64
		data io.Reader
	}{
		{o.name + ".ovf", int64(len(descriptor)), bytes.NewReader(descriptor)},
		{o.name + ".mf", int64(len(hashes)), bytes.NewReader(hashes)},
		{o.Disk, content.Size, from},
	} {
		err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: f.size, Mode: 0o644, ModTime: when, Format: tar.FormatUSTAR})
		if err == nil {
			_, err = io.Copy(out, f.data)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", f.name, err), to.Close())
		}
	}
	return errors.Join(out.Close(), to.Close())
}

// Places in the header of a VMDK, whose numbers are little-endian and count sectors (Virtual Disk Format 5.0).
const (
	vmdkMagic      = "KDMV"
	vmdkDescriptor = 28 // 8 bytes: where the descriptor begins; 8 more: how long it is
	vmdkSector     = 512
	// vmdkMaximum is more than any descriptor has.
	vmdkMaximum = 1 << 20
)

// contentID is a number that says whether the disk is one that another knows.
var contentID = regexp.MustCompile(`(?m)^CID=[0-9a-f]{1,8}$`)

// stampVMDK replaces the random number in the descriptor that qemu-img wrote.
func stampVMDK(file *os.File, id string, _ time.Time) error {
	header := make([]byte, vmdkSector)
	if _, err := file.ReadAt(header, 0); err != nil {
		return err
	}
	at := binary.LittleEndian.Uint64(header[vmdkDescriptor:]) * vmdkSector
	size := binary.LittleEndian.Uint64(header[vmdkDescriptor+8:]) * vmdkSector
	if string(header[:len(vmdkMagic)]) != vmdkMagic || at == 0 || at > vmdkMaximum || size == 0 || size > vmdkMaximum {
		return errors.New("the file has no descriptor of a VMDK")
	}
	block := make([]byte, size)
	if _, err := file.ReadAt(block, int64(at)); err != nil {
		return err
	}
	text := bytes.TrimRight(block, "\x00")
	if found := contentID.FindAll(text, -1); len(found) != 1 {
		return fmt.Errorf("the descriptor has %d content ids, want 1:\n%s", len(found), text)
	}
	text = contentID.ReplaceAll(text, []byte("CID="+id[:8]))
	if len(text) > len(block) {
		return errors.New("the descriptor is full")
	}
	stamped := make([]byte, size)
	copy(stamped, text)
	_, err := file.WriteAt(stamped, int64(at))
	return err
}
