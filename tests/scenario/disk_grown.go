// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var diskGrown = Scenario{
	Name:   "disk-grown",
	Suite:  SuiteAll,
	Shows:  "a disk that has become larger is used to its end at the next boot, twice, and it is the same machine with the same data",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const sizes = 3
		disks := [sizes]int{8, 12, 20} // GiB
		m, err := lonelyAgent(ctx, t, vm.MachineConfig{Disk: disks[0]})
		if err != nil {
			return err
		}
		g := growth{t: t, m: m, gib: disks[0]}
		steps := []step{{fmt.Sprintf("boot it with a disk of %d GiB", disks[0]), func() (err error) {
			if err := bootToSSH(ctx, m); err != nil {
				return err
			}
			return g.begin(ctx)
		}}}
		for _, gib := range disks[1:] {
			steps = append(steps, g.steps(ctx, gib)...)
		}
		return t.Steps(append(steps, step{"the second partition table is at the new end", func() error {
			if err := m.Shutdown(ctx); err != nil {
				return err
			}
			last := int64(disks[sizes-1])<<30/vm.SectorSize - 1
			first, err := m.GPT(ctx, 1)
			if err != nil {
				return err
			}
			second, err := m.GPT(ctx, last)
			if err != nil {
				return err
			}
			if first.My != 1 || first.Alternate != last || second.My != last || second.Alternate != 1 || first.LastUsable != second.LastUsable {
				return fmt.Errorf("the last sector is %d, and the headers are %+v and %+v", last, first, second)
			}
			return nil
		}})...)
	},
}

// growth is a machine whose disk becomes larger. Sizes but the disk's are in bytes.
type growth struct {
	t     *T
	m     *vm.Machine
	gib   int // of the disk
	self  self
	size  int64 // of the file system at /var
	state int64 // of STATE
}

// begin looks at the machine, which is on, and leaves something on DATA.
func (g *growth) begin(ctx context.Context) (err error) {
	if g.self, err = selfOf(ctx, g.m); err != nil {
		return err
	}
	if g.size, _, err = g.look(ctx); err != nil {
		return err
	}
	if g.state, err = numberOf(ctx, g.m, "sudo blockdev --getsize64 /dev/disk/by-partlabel/skerry-state"); err != nil {
		return err
	}
	_, err = g.m.Run(ctx, "echo kept | sudo tee /var/lib/kept && sync")
	return err
}

// look returns how large the file system at /var is, and the partition that it is on.
func (g *growth) look(ctx context.Context) (size, partition int64, err error) {
	if size, err = numberOf(ctx, g.m, "df --output=size -B1 /var | tail -n 1"); err != nil {
		return 0, 0, err
	}
	partition, err = numberOf(ctx, g.m, "sudo blockdev --getsize64 /dev/disk/by-partlabel/skerry-data")
	return size, partition, err
}

// steps give the disk a new size and look at what the machine makes of it.
func (g *growth) steps(ctx context.Context, gib int) []step {
	return []step{
		{fmt.Sprintf("with %d GiB, /var is larger by what was added", gib), func() error {
			added := int64(gib-g.gib) << 30
			if err := g.m.Shutdown(ctx); err != nil {
				return err
			}
			if err := g.m.GrowDisk(ctx, gib); err != nil {
				return err
			}
			if err := bootToSSH(ctx, g.m); err != nil {
				return err
			}
			now, partition, err := g.look(ctx)
			if err != nil {
				return err
			}
			g.t.Note("/var had %d MiB and has %d MiB", g.size>>20, now>>20)
			// ext4 keeps up to a twentieth for its own tables.
			if now-g.size < added*95/100 || now > partition {
				return fmt.Errorf("the disk has %d bytes more, /var had %d and has %d of a partition of %d", added, g.size, now, partition)
			}
			g.gib, g.size = gib, now
			return g.self.same(ctx, g.m)
		}},
		{"the data is there, STATE has its size, and nothing had to be repaired", func() error {
			if err := outputHas(ctx, g.m, "cat /var/lib/kept", "kept"); err != nil {
				return err
			}
			still, err := numberOf(ctx, g.m, "sudo blockdev --getsize64 /dev/disk/by-partlabel/skerry-state")
			if err == nil && still != g.state {
				err = fmt.Errorf("STATE had %d bytes and has %d", g.state, still)
			}
			if err != nil {
				return err
			}
			status, err := statusNotReady(ctx, g.m)
			if err == nil && strings.Contains(status, "repaired:") {
				err = fmt.Errorf("skerry status says %q", status)
			}
			return err
		}},
	}
}

// numberOf runs a command that prints a number.
func numberOf(ctx context.Context, m *vm.Machine, command string) (int64, error) {
	out, err := m.Run(ctx, command)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", m.Name(), command, err)
	}
	return n, nil
}
