// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// mountUnit is a mount or swap with its unit.
type mountUnit struct {
	unitFile
	device string // to wait for; empty when there is none
	noFail bool
	noAuto bool
}

// mounts renders units for the mounts and the swap of the configuration, and
// starts them. systemd mounts, checks and unmounts, in the order that follows
// from the folders.
func mounts(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	var list []mountUnit
	var files []unitFile
	for i := range loaded.Config.Mounts {
		mount := &loaded.Config.Mounts[i]
		u, err := m.mountUnit(mount)
		if err == nil && mount.Vital() {
			err = m.hidesNothing(mount.Where)
		}
		if err != nil {
			return fmt.Errorf("mounts[%d]: %w", i, err)
		}
		list, files = append(list, u), append(files, u.unitFile)
	}
	if swap := loaded.Config.Swap; swap != nil {
		u := swapUnit(swap.File(), nil)
		list, files = append(list, u), append(files, u.unitFile)
	}
	if err := m.renderUnits(ctx, []string{".mount", ".swap"}, files); err != nil {
		return err
	}
	for _, u := range list {
		if err := m.startMount(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// hidesNothing refuses a mount on a folder with files of Kubernetes in it, unless
// it is there already: the cluster, or the node, would begin anew beside them, and
// what runs would go on with them open.
func (m *Machine) hidesNothing(where string) error {
	mounted, err := m.isMounted(where)
	if err != nil || mounted {
		return err
	}
	err = filepath.WalkDir(m.path(where), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		return fmt.Errorf("%s holds files of Kubernetes, such as %s, that the mount would hide: "+
			"boot without it, copy them to the disk and move them away, or delete them", where, where+strings.TrimPrefix(path, m.path(where)))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isMounted reads proc_pid_mountinfo(5): the fifth field is the folder.
func (m *Machine) isMounted(where string) (bool, error) {
	data, err := os.ReadFile(m.path("/proc/self/mountinfo"))
	if err != nil {
		return false, fmt.Errorf("look for mounts: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == where {
			return true, nil
		}
	}
	return false, nil
}

func (m *Machine) startMount(ctx context.Context, u mountUnit) error {
	if u.noAuto {
		return nil
	}
	var err error
	if u.device != "" {
		_, err = m.device(ctx, u.device)
	}
	if err == nil {
		_, err = m.System.Run(ctx, systemctl, "start", u.name)
	}
	if err != nil && u.noFail && ctx.Err() == nil {
		m.Log.Warn("the machine goes on without a mount", "unit", u.name, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", u.name, err)
	}
	return nil
}

// mountUnit renders one mount.
func (m *Machine) mountUnit(mount *configschema.Mount) (mountUnit, error) {
	what := configschema.DevicePath(mount.Device)
	options := slices.DeleteFunc(slices.Clone(mount.Options), func(option string) bool {
		return option == "nofail" || option == "noauto" || option == "auto" || option == "defaults" || option == "sw"
	})
	if mount.Swap() {
		u := swapUnit(what, options)
		u.noFail = mount.NoFail()
		return u, nil
	}
	where, err := m.canonical(mount.Where)
	if err != nil {
		return mountUnit{}, err
	}
	u := mountUnit{noFail: mount.NoFail(), noAuto: slices.Contains(mount.Options, "noauto")}
	var text strings.Builder
	// Kubernetes is stopped before what it may use is unmounted.
	fmt.Fprintf(&text, "[Unit]\nDescription=Mount of the cloud-config\nBefore=%s\n", strings.Join(mountUsers, " "))
	if mount.HasDevice() {
		u.device = what
		if mount.Check {
			check := "systemd-fsck@" + unit.UnitNamePathEscape(what) + ".service"
			fmt.Fprintf(&text, "Requires=%s\nAfter=%s\n", check, check)
		}
	}
	fmt.Fprintf(&text, "\n[Mount]\nWhat=%s\nWhere=%s\n", unitValue(what), unitValue(where))
	if mount.Type != "auto" && mount.Type != "none" {
		fmt.Fprintf(&text, "Type=%s\n", mount.Type)
	}
	if len(options) > 0 {
		fmt.Fprintf(&text, "Options=%s\n", unitValue(strings.Join(options, ",")))
	}
	u.unitFile = unitFile{unit.UnitNamePathEscape(where) + ".mount", text.String()}
	return u, nil
}

// mountUsers are the units whose processes may use a mount.
var mountUsers = []string{"skerry-containerd.service", "skerry-control.service", "skerry-node.service"}

// swapUnit renders swapping to a device or file.
func swapUnit(what string, options []string) mountUnit {
	text := "[Unit]\nDescription=Swap of the cloud-config\n\n[Swap]\nWhat=" + unitValue(what) + "\n"
	if len(options) > 0 {
		text += "Options=" + unitValue(strings.Join(options, ",")) + "\n"
	}
	u := mountUnit{unitFile: unitFile{unit.UnitNamePathEscape(what) + ".swap", text}}
	if strings.HasPrefix(what, "/dev/") {
		u.device = what
	}
	return u
}

// canonical replaces the links in a path by what they lead to: /mnt is a link to
// /var/mnt here, and systemd refuses to mount through links.
func (m *Machine) canonical(path string) (string, error) {
	dir, rest := path, ""
	for {
		real, err := m.follow(dir)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return "", fmt.Errorf("find the folder %s: %w", path, err)
		}
		if _, err := os.Lstat(m.path(dir)); err == nil {
			return "", fmt.Errorf("%s is a link that leads nowhere", dir)
		}
		dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest)
	}
}
