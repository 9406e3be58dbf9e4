// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testDescriptor = "../ova/machine.ovf"

// TestOVA: descriptor, hashes and disk in this order, and the hashes are right.
func TestOVA(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.vmdk")
	if err := os.WriteFile(disk, bytes.Repeat([]byte("disk"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	machine := ova{name: "skerry-1.2.3-arch", Version: "1.2.3", Disk: "skerry-1.2.3-arch.vmdk", Bytes: 4000, CapacityGiB: ovaDisk}
	descriptor, err := machine.descriptor(testDescriptor)
	if err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	for _, path := range []string{one, two} {
		if err := machine.pack(path, descriptor, disk, testTime); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(readFile(t, one), readFile(t, two)) {
		t.Error("the same disk gives other bytes the second time")
	}

	var order []string
	files := map[string][]byte{}
	in := tar.NewReader(bytes.NewReader(readFile(t, one)))
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Format != tar.FormatUSTAR || !header.ModTime.Equal(testTime) {
			t.Errorf("%s: format %s, time %s", header.Name, header.Format, header.ModTime)
		}
		order = append(order, header.Name)
		if files[header.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(order, " "); got != "skerry-1.2.3-arch.ovf skerry-1.2.3-arch.mf skerry-1.2.3-arch.vmdk" {
		t.Errorf("the files are %s", got)
	}
	var hashes string
	for _, name := range []string{order[0], order[2]} {
		sum := sha256.Sum256(files[name])
		hashes += fmt.Sprintf("SHA256(%s)= %s\n", name, hex.EncodeToString(sum[:]))
	}
	if got := string(files[order[1]]); got != hashes {
		t.Errorf("the manifest is\n%s, want\n%s", got, hashes)
	}
}

// TestOVADescriptor: the hardware is what the documentation says, and what refers to something refers to what is there.
func TestOVADescriptor(t *testing.T) {
	text, err := ova{Version: "1.2.3", Disk: "d.vmdk", Bytes: 4711, CapacityGiB: 16}.descriptor(testDescriptor)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Files []struct {
			Href string `xml:"href,attr"`
			ID   string `xml:"id,attr"`
			Size int    `xml:"size,attr"`
		} `xml:"References>File"`
		Disks []struct {
			ID       string `xml:"diskId,attr"`
			File     string `xml:"fileRef,attr"`
			Capacity int    `xml:"capacity,attr"`
			Units    string `xml:"capacityAllocationUnits,attr"`
		} `xml:"DiskSection>Disk"`
		Networks []struct {
			Name string `xml:"name,attr"`
		} `xml:"NetworkSection>Network"`
		Name  string `xml:"VirtualSystem>Name"`
		Items []struct {
			ID         string `xml:"InstanceID"`
			Kind       int    `xml:"ResourceType"`
			SubKind    string `xml:"ResourceSubType"`
			Quantity   int    `xml:"VirtualQuantity"`
			Parent     string `xml:"Parent"`
			Host       string `xml:"HostResource"`
			Connection string `xml:"Connection"`
		} `xml:"VirtualSystem>VirtualHardwareSection>Item"`
		Settings []struct {
			Key   string `xml:"key,attr"`
			Value string `xml:"value,attr"`
		} `xml:"VirtualSystem>VirtualHardwareSection>Config"`
	}
	if err := xml.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Files) != 1 || e.Files[0].Href != "d.vmdk" || e.Files[0].Size != 4711 || e.Name != "skerry-1.2.3" {
		t.Errorf("files %+v, name %s", e.Files, e.Name)
	}
	if len(e.Disks) != 1 || e.Disks[0].File != e.Files[0].ID || e.Disks[0].Capacity != 16 || e.Disks[0].Units != "byte * 2^30" {
		t.Fatalf("disks %+v", e.Disks)
	}
	items := map[int]string{}
	ids := map[string]string{}
	for _, i := range e.Items {
		items[i.Kind] = fmt.Sprint(i.SubKind, i.Quantity)
		ids[i.ID] = i.SubKind
		switch {
		case i.Host != "" && (i.Host != "ovf:/disk/"+e.Disks[0].ID || ids[i.Parent] != "VirtualSCSI"):
			t.Errorf("the disk is %s at %q", i.Host, ids[i.Parent])
		case i.Connection != "" && (len(e.Networks) != 1 || i.Connection != e.Networks[0].Name):
			t.Errorf("the card is on %s, networks %+v", i.Connection, e.Networks)
		}
	}
	// Resource types of CIM: processor, memory, SCSI controller, Ethernet adapter, disk.
	for kind, want := range map[int]string{3: "2", 4: "2048", 6: "VirtualSCSI0", 10: "VmxNet30", 17: "0"} {
		if items[kind] != want {
			t.Errorf("resource type %d is %q, want %q", kind, items[kind], want)
		}
	}
	if len(ids) != 5 {
		t.Errorf("the items have the ids %v", ids)
	}
	if len(e.Settings) == 0 || e.Settings[0].Key != "firmware" || e.Settings[0].Value != "efi" {
		t.Errorf("settings %+v", e.Settings)
	}
}
