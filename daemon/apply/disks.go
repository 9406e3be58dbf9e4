// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// disks divides extra disks. One that isn't there is for the mounts to judge:
// a machine may do without.
func disks(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	for _, name := range slices.Sorted(maps.Keys(loaded.Config.DiskSetup)) {
		err := m.divide(ctx, loaded, name, loaded.Config.DiskSetup[name])
		if errors.Is(err, errNoDevice) {
			m.Log.Warn("disk_setup: " + err.Error())
			continue
		}
		if err != nil {
			return fmt.Errorf("disk_setup: %w", err)
		}
	}
	return nil
}

func (m *Machine) divide(ctx context.Context, loaded *config.Loaded, name string, disk configschema.Disk) error {
	if len(disk.Layout) == 0 {
		return nil
	}
	device, err := m.device(ctx, name)
	if err != nil {
		return err
	}
	if disk.Overwrite {
		return m.oncePerInstance(loaded, "disk_setup "+name, func() error { return m.partition(ctx, device, disk.Layout, "force") })
	}
	found, err := m.probe(ctx, device)
	switch {
	case err != nil:
		return err
	case found.table == "gpt" && found.kind == "":
		return nil
	case !found.empty():
		return fmt.Errorf("%s holds %s: empty it, or set overwrite: true to lose what is there", name, found)
	}
	return m.partition(ctx, device, disk.Layout, "require")
}

// repartDir is where the definitions for systemd-repart are put.
const repartDir = "/run/skerry/repart"

// partition makes the partitions. systemd-repart writes the table in one go, when
// it has worked out all of it. empty is what it does with one that is there.
func (m *Machine) partition(ctx context.Context, device string, layout configschema.Layout, empty string) error {
	if err := m.mayErase(device); err != nil {
		return err
	}
	if err := os.RemoveAll(m.path(repartDir)); err != nil {
		return err
	}
	left := 100
	for i, p := range layout {
		left -= p.Percent
		text := "[Partition]\nType=" + p.Type + "\nWeight=" + strconv.Itoa(p.Percent) + "\n"
		if i == len(layout)-1 && left > 0 {
			text += "PaddingWeight=" + strconv.Itoa(left) + "\n"
		}
		if err := m.write(fmt.Sprintf("%s/%02d.conf", repartDir, i+1), []byte(text), 0o644, byRoot); err != nil {
			return err
		}
	}
	// Without a seed of its own, every disk of the machine would get the same ids.
	_, err := m.System.Run(ctx, "/usr/bin/systemd-repart", "--definitions="+m.path(repartDir), "--empty="+empty,
		"--seed=random", "--dry-run=no", "--no-pager", "--no-legend", m.path(device))
	if err != nil {
		return fmt.Errorf("divide %s: %w", device, err)
	}
	if err := os.RemoveAll(m.path(repartDir)); err != nil {
		return err
	}
	m.Log.Info("divided a disk", "device", device, "partitions", len(layout))
	return nil
}

// partitionName is the name of a partition of a device, by the kernel's and
// udev's conventions.
func partitionName(device string, number configschema.PartitionNumber) string {
	if number == 0 {
		return device
	}
	text := strconv.Itoa(int(number))
	switch {
	case strings.HasPrefix(device, "/dev/disk/"):
		return device + "-part" + text
	case device[len(device)-1] >= '0' && device[len(device)-1] <= '9':
		return device + "p" + text
	}
	return device + text
}
