// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/source"
)

// hashDigits is the length of a root hash.
const hashDigits = 64

// Definitions of the image that are completed here, or left to the first boot.
const (
	espDefinition    = "10-esp.conf"
	rootDefinition   = "20-root-a.conf"
	verityDefinition = "21-verity-a.conf"
	stateDefinition  = "40-state.conf"
	dataDefinition   = "50-data.conf"
)

func (i *Installer) definitions() string { return filepath.Join(i.Dir, "repart.d") }

// define writes what systemd-repart is to make: the image's own definitions, with what goes into the partitions. DATA is
// left to the first boot, which makes it where the disk ends.
func (i *Installer) define(esp string, document *source.Document, sealed *sealing) error {
	names, err := filepath.Glob(filepath.Join(i.Definitions, "*.conf"))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("there are no definitions of partitions in %s", i.Definitions)
	}
	if err := os.MkdirAll(i.definitions(), 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if filepath.Base(name) == dataDefinition {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(i.definitions(), filepath.Base(name)), text, 0o600); err != nil {
			return err
		}
	}
	if err := i.defineBIOS(esp); err != nil {
		return err
	}
	label := "skerry_" + i.Version
	more := map[string][]string{
		espDefinition: append([]string{"Label=" + espLabel, "Format=vfat", "CopyFiles=" + esp + ":/",
			"ExcludeFiles=" + filepath.Join(esp, i.liveAddons())}, i.espLines(esp)...),
		// Their UUIDs are by what systemd-veritysetup-generator finds them.
		rootDefinition:   {"Label=" + label, "UUID=" + dashed(i.Medium.RootHash[:32]), "CopyBlocks=" + i.Medium.Root, "ReadOnly=yes"},
		verityDefinition: {"Label=" + label, "UUID=" + dashed(i.Medium.RootHash[32:]), "CopyBlocks=" + i.Medium.Verity, "ReadOnly=yes"},
	}
	if lines := sealed.lines(); lines != nil {
		more[stateDefinition] = lines
	}
	if document != nil {
		state := filepath.Join(i.Dir, "state")
		if err := os.MkdirAll(state, 0o755); err != nil { // the root of a file system, whose mode it becomes
			return err
		}
		if err := (&source.State{Dir: state}).Keep(document); err != nil {
			return err
		}
		more[stateDefinition] = append(more[stateDefinition], "CopyFiles="+state+":/")
	}
	for name, lines := range more {
		if _, err := os.Stat(filepath.Join(i.definitions(), name)); err != nil {
			return fmt.Errorf("the image has no definition of a partition: %w", err)
		}
		dir := filepath.Join(i.definitions(), name+".d")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		text := "[Partition]\n" + strings.Join(lines, "\n") + "\n"
		if err := atomicfile.Write(filepath.Join(dir, "install.conf"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// liveAddons is the folder, on the medium's EFI system partition, of what makes the same kernel image boot a live system.
func (i *Installer) liveAddons() string { return "EFI/Linux/skerry_" + i.Version + ".efi.extra.d" }

// dashed writes 32 hexadecimal digits as a UUID.
func dashed(h string) string {
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// write divides and fills the disk, and has it all on the disk when it returns.
func (i *Installer) write(ctx context.Context, disk Disk, wipe bool, sealed *sealing) error {
	empty := "require"
	if wipe {
		empty = "force"
	}
	total, err := sizes(i.Medium.Root, i.Medium.Verity)
	if err != nil {
		return err
	}
	stop := i.watch("write the system to "+disk.Path, disk, total)
	args := []string{"--definitions=" + i.definitions(), "--empty=" + empty, "--seed=random", "--dry-run=no", "--no-pager", "--no-legend"}
	_, err = i.Run(ctx, "/usr/bin/systemd-repart", append(append(args, sealed.arguments()...), disk.Path)...)
	stop()
	if err != nil {
		return fmt.Errorf("write to %s: %w", disk.Path, err)
	}
	if err := i.writeBootCode(disk.Path); err != nil {
		return err
	}
	return forget(disk.Path)
}

// sizes adds up how many bytes block devices hold.
func sizes(devices ...string) (int64, error) {
	var total int64
	for _, device := range devices {
		file, err := os.Open(device)
		if err != nil {
			return 0, err
		}
		size, err := file.Seek(0, 2)
		file.Close()
		if err != nil {
			return 0, fmt.Errorf("size of %s: %w", device, err)
		}
		total += size
	}
	return total, nil
}

// forget has a disk write what it was given, and the kernel forget what it remembers of it, so that what is read next comes
// from the disk. It is opened for reading alone: whenever somebody who could have written closes a disk, udev has the kernel
// look for its partitions again, and they are gone for a moment.
func forget(device string) error {
	file, err := os.Open(device)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write what is left to %s: %w", device, err)
	}
	if err := unix.IoctlSetInt(int(file.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("read %s anew: %w", device, err)
	}
	return nil
}

// watchInterval is how often it is told how far writing is.
const watchInterval = time.Second

// watch tells how much was written to a disk since it was called, until it is stopped.
func (i *Installer) watch(step string, disk Disk, total int64) (stop func()) {
	begun := written(disk.Name)
	i.Tell(Progress{Step: step, Total: total})
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				i.Tell(Progress{Step: step, Done: min(written(disk.Name)-begun, total), Total: total})
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// written returns the bytes that the kernel has written to a disk since it is there: the seventh number of
// Documentation/block/stat.rst, in sectors of 512 bytes. It is for a progress bar: where it isn't known, it is 0.
func written(name string) int64 {
	text, err := os.ReadFile("/sys/class/block/" + name + "/stat")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 7 {
		return 0
	}
	sectors, err := strconv.ParseInt(fields[6], 10, 64)
	if err != nil {
		return 0
	}
	return sectors * 512
}
