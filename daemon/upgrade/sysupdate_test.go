// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/slot"
)

// TestRealSysupdate has a real systemd-sysupdate of 257 write to a loop device, whose partitions are as a machine's. It
// needs root, and in SKERRY_TEST_SYSUPDATE a tree of Debian trixie with systemd-container and fdisk.
func TestRealSysupdate(t *testing.T) {
	tree := os.Getenv("SKERRY_TEST_SYSUPDATE")
	if tree == "" {
		t.Skip("SKERRY_TEST_SYSUPDATE names no tree with systemd-sysupdate")
	}
	m := newMachine(t)
	output := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	// What is below the folder of the test is seen at the same path in the tree; the EFI system partition isn't prefixed.
	for from, to := range map[string]string{m.Root: filepath.Join(tree, m.Root), filepath.Join(m.Root, "efi"): filepath.Join(tree, "efi"), "/dev": filepath.Join(tree, "dev"), "/proc": filepath.Join(tree, "proc"), "/sys": filepath.Join(tree, "sys")} {
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		output("mount", "--bind", from, to)
		t.Cleanup(func() { _ = exec.Command("umount", to).Run() })
	}
	image := filepath.Join(m.Root, "disk.raw")
	m.write("disk.raw", nil)
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	root, verity := slot.UUIDs(hashOf("1.0.0"))
	table := fmt.Sprintf("label: gpt\nsize=8M,type=U,name=skerry-esp\nsize=8M,type=%[1]s,uuid=%[3]s,name=skerry_1.0.0\nsize=4M,type=%[2]s,uuid=%[4]s,name=skerry_1.0.0\n"+
		"size=8M,type=%[1]s,name=_empty\nsize=4M,type=%[2]s,name=_empty\n", m.parts["root-a"].kind, m.parts["verity-a"].kind, root, verity)
	m.write("table", []byte(table))
	output("chroot", tree, "sh", "-c", "sfdisk "+image+" < "+filepath.Join(m.Root, "table"))
	loop := output("losetup", "--find", "--show", "--partscan", image)
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", loop).Run() })
	m.Run = func(ctx context.Context, name string, args ...string) error {
		out, err := exec.CommandContext(ctx, "chroot", append([]string{tree, name}, args...)...).CombinedOutput()
		t.Logf("%s %v\n%s", name, args, out)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	m.Slots.Lsblk = func(context.Context) ([]byte, error) {
		var dump struct {
			Table struct {
				Partitions []struct {
					Node, Type, UUID, Name string
					Start, Size            int64
				}
			} `json:"partitiontable"`
		}
		if err := json.Unmarshal([]byte(output("chroot", tree, "sfdisk", "--json", loop)), &dump); err != nil {
			return nil, err
		}
		running, err := m.Slots.RunningRootHash()
		if err != nil {
			return nil, err
		}
		runs, _ := slot.UUIDs(running)
		var children []map[string]any
		for i, p := range dump.Table.Partitions {
			// There is no udev to make nodes of partitions.
			part := filepath.Join(m.Root, fmt.Sprintf("part%d", i))
			output("dd", "if="+loop, "of="+part, "bs=1M", "status=none", "iflag=direct,skip_bytes,count_bytes", fmt.Sprintf("skip=%d", p.Start*512), fmt.Sprintf("count=%d", p.Size*512))
			d := map[string]any{"path": part, "partuuid": strings.ToLower(p.UUID), "partlabel": p.Name, "parttype": strings.ToLower(p.Type), "size": p.Size * 512}
			if strings.ToLower(p.UUID) == runs {
				d["mountpoints"] = []string{"/"}
			}
			children = append(children, d)
		}
		return json.Marshal(map[string]any{"blockdevices": []map[string]any{{"path": loop, "type": "disk", "children": children}}})
	}
	for _, version := range []string{"1.1.0", "1.1.0", "1.2.0", "0.9.0"} {
		if _, err := m.Apply(t.Context(), folder(m.payload(version)), Choice{Downgrade: true}); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		s, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.All) != 2 || !s.All[0].Running || s.All[1].Version != version || s.All[1].State != slot.Trial || s.All[1].Root.Label != "skerry_"+version {
			t.Errorf("%s: the slots are %+v", version, s.All)
		}
		t.Log(m.ukis())
	}
}
