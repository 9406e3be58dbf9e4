// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/identity"
)

// swapRecord remembers the swap file that was made, so that one which has left
// the configuration leaves the data partition.
const swapRecord = "/state/swapfile"

// autoSwap is the most that a swap file of size auto has, in bytes.
const autoSwap = 8 << 30

// swapFile makes the swap file, whole or not at all. The mounts stage swaps to
// it.
func swapFile(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	made, _, err := m.remembered(swapRecord)
	if err != nil {
		return err
	}
	wanted := loaded.Config.Swap
	if made != "" && (wanted == nil || wanted.File() != made) {
		if err := m.removeSwap(ctx, made); err != nil {
			return err
		}
	}
	if wanted == nil {
		return nil
	}
	if err := m.makeSwap(ctx, wanted); err != nil {
		return fmt.Errorf("swap file %s: %w", wanted.File(), err)
	}
	return nil
}

func (m *Machine) removeSwap(ctx context.Context, file string) error {
	if active, err := m.swapsTo(file); err != nil {
		return err
	} else if active {
		if _, err := m.System.Run(ctx, "/usr/sbin/swapoff", m.path(file)); err != nil {
			return fmt.Errorf("stop swapping to %s: %w", file, err)
		}
	}
	for _, name := range []string{file, file + partialEnding} {
		if err := m.remove(name); err != nil {
			return err
		}
	}
	return m.remove(swapRecord)
}

// partialEnding ends the name of a swap file that is being made.
const partialEnding = ".partial"

func (m *Machine) makeSwap(ctx context.Context, swap *configschema.Swap) error {
	file := swap.File()
	if active, err := m.swapsTo(file); err != nil || active {
		return err // a changed size takes effect at the next boot
	}
	size, err := m.swapSize(swap)
	if err != nil || size == 0 {
		return err
	}
	if err := m.remember(swapRecord, file); err != nil {
		return err
	}
	if err := m.makeParents(file); err != nil {
		return err
	}
	partial := file + partialEnding
	if err := m.remove(partial); err != nil {
		return err
	}
	if err := allocate(m.path(partial), size); err != nil {
		return errors.Join(err, m.remove(partial))
	}
	if _, err := m.System.Run(ctx, "/usr/sbin/mkswap", m.path(partial)); err != nil {
		return errors.Join(err, m.remove(partial))
	}
	if err := os.Rename(m.path(partial), m.path(file)); err != nil {
		return err
	}
	return identity.SyncDir(filepath.Dir(m.path(file)))
}

// allocate makes a file whose blocks are all there: the kernel can't swap to
// holes.
func allocate(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	if err != nil {
		err = fmt.Errorf("set aside %d MiB: %w", size>>20, err)
	}
	return errors.Join(err, file.Sync(), file.Close())
}

// swapSize returns how large the file is to be made, 0 when it is right as it
// is. A file of size auto is right at any size up to the limit: what is free
// changes, and it must not be made anew at each boot.
func (m *Machine) swapSize(swap *configschema.Swap) (int64, error) {
	have, err := m.swapSpace(swap.File())
	if err != nil {
		return 0, err
	}
	if !swap.Size.Auto() {
		size := swap.Size.Bytes() &^ (pageSize - 1)
		if have == size {
			return 0, nil
		}
		return size, nil
	}
	limit := int64(autoSwap)
	if most := swap.MaxSize.Bytes(); most > 0 {
		limit = most
	}
	if have > 0 && have <= limit {
		return 0, nil
	}
	memory, err := m.memory()
	if err != nil {
		return 0, err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(m.path("/var"), &stat); err != nil {
		return 0, fmt.Errorf("look at what is free below /var: %w", err)
	}
	size := min(memory, limit, int64(stat.Bavail)*stat.Bsize/4) &^ (pageSize - 1)
	if size < 1<<20 {
		return 0, errors.New("there is no room for it")
	}
	return size, nil
}

// pageSize is the size of the pages that are swapped, in bytes.
const pageSize = 4096

// swapMark ends the first page of what mkswap has written to.
const swapMark = "SWAPSPACE2"

// swapSpace returns the size of a swap file, 0 for anything else.
func (m *Machine) swapSpace(name string) (int64, error) {
	file, err := os.Open(m.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	mark := make([]byte, len(swapMark))
	if _, err := file.ReadAt(mark, pageSize-int64(len(mark))); err != nil || string(mark) != swapMark {
		return 0, errors.New("is there, and is no swap file: remove it, or choose another name")
	}
	return info.Size(), nil
}

// memory returns the size of the memory in bytes.
func (m *Machine) memory() (int64, error) {
	data, err := os.ReadFile(m.path("/proc/meminfo"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo doesn't say how much memory there is")
}

// swapsTo says whether the kernel swaps to a file, by proc_swaps(5).
func (m *Machine) swapsTo(file string) (bool, error) {
	data, err := os.ReadFile(m.path("/proc/swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a kernel without swap
	}
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == file {
			return true, nil
		}
	}
	return false, nil
}
