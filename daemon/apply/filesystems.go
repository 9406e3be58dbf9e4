// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// filesystems makes file systems on extra disks.
func filesystems(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	for i := range loaded.Config.FSSetup {
		fs := &loaded.Config.FSSetup[i]
		err := m.filesystem(ctx, loaded, fs)
		if errors.Is(err, errNoDevice) {
			m.Log.Warn(fmt.Sprintf("fs_setup[%d]: %v", i, err))
			continue
		}
		if err != nil {
			return fmt.Errorf("fs_setup[%d]: %w", i, err)
		}
	}
	return nil
}

func (m *Machine) filesystem(ctx context.Context, loaded *config.Loaded, fs *configschema.FileSystem) error {
	name := partitionName(fs.Device, fs.Partition)
	device, err := m.device(ctx, name)
	if err != nil {
		return err
	}
	if fs.Overwrite {
		return m.oncePerInstance(loaded, "fs_setup "+name, func() error { return m.makeFilesystem(ctx, device, fs) })
	}
	found, err := m.probe(ctx, device)
	switch {
	case err != nil:
		return err
	case found.kind == fs.Kind() && (fs.Label == "" || found.label == fs.Label):
		return nil
	case !found.empty():
		return fmt.Errorf("%s holds %s: empty it, or set overwrite: true to lose what is there", name, found)
	}
	return m.makeFilesystem(ctx, device, fs)
}

func (m *Machine) makeFilesystem(ctx context.Context, device string, fs *configschema.FileSystem) error {
	if err := m.mayErase(device); err != nil {
		return err
	}
	program, args := "/usr/sbin/mkfs."+fs.Kind(), []string{"-q", "-F"} // -F: nobody is there to answer
	label := "-L"
	switch fs.Kind() {
	case "vfat":
		args, label = []string{"-I"}, "-n" // -I: also on a whole disk
	case "swap":
		program, args = "/usr/sbin/mkswap", []string{"--force"}
	}
	if fs.Label != "" {
		args = append(args, label, fs.Label)
	}
	args = append(append(args, fs.ExtraOpts...), m.path(device))
	if _, err := m.System.Run(ctx, program, args...); err != nil {
		return fmt.Errorf("make %s on %s: %w", fs.Kind(), device, err)
	}
	m.Log.Info("made a file system", "device", device, "kind", fs.Kind())
	return nil
}
