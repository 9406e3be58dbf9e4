// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/secureboot"
	"github.com/skerry-os/skerry/daemon/slot"
)

const (
	// spare is what is left free beside what an upgrade needs, in bytes.
	spare = 32 << 20
	// fetchTries is how often a file is asked for, when the connection breaks.
	fetchTries = 5
	// zstdMemory is what a file may need to be unpacked, in bytes; those of `make payload` need 8 MiB.
	zstdMemory = 128 << 20
)

// fetchPause is between two tries.
var fetchPause = 2 * time.Second

// staged is a file of a payload, as it is written to the disk.
type staged struct {
	file File
	name string // unpacked, as the transfer definitions look for it
	what string // for people
}

// stagedFiles are those of a payload, the kernel first, which may be refused for who has signed it. The names carry what
// systemd-sysupdate has to know: version and partition UUID.
func stagedFiles(m *Manifest) []staged {
	root, verity := slot.UUIDs(m.RootHash)
	return []staged{
		{m.Files.UKI, stagedKernel(m), "kernel"},
		{m.Files.Root, fmt.Sprintf("skerry_%s_%s.root", m.Version, root), "root file system"},
		{m.Files.Verity, fmt.Sprintf("skerry_%s_%s.verity", m.Version, verity), "hash tree"},
	}
}

// stagedKernel is the name of the kernel among stagedFiles.
func stagedKernel(m *Manifest) string { return fmt.Sprintf("skerry_%s.efi", m.Version) }

func (u *Upgrader) stagingDir(m *Manifest) string {
	return filepath.Join(u.path(StagingDir), m.Version)
}

// stage brings the files of a payload to DATA, unpacked and verified. What an earlier try has brought is used.
func (u *Upgrader) stage(ctx context.Context, from Source, m *Manifest) (fetched int64, err error) {
	dir := u.stagingDir(m)
	if err := u.sweepStaging(m.Version); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	if err := u.checkStagingSpace(dir, m); err != nil {
		return 0, err
	}
	for _, s := range stagedFiles(m) {
		n, err := u.stageFile(ctx, from, dir, s)
		fetched += n
		if err == nil && s.file == m.Files.UKI {
			err = u.wouldStart(filepath.Join(dir, s.name), "the kernel of "+m.Version)
		}
		if err != nil {
			return fetched, err
		}
	}
	return fetched, nil
}

// wouldStart refuses a kernel that the firmware refuses: a machine hangs on that, and doesn't come to another attempt.
func (u *Upgrader) wouldStart(uki, what string) error {
	err := secureboot.WouldStart(u.Root, uki)
	var untrusted *secureboot.UntrustedError
	if errors.As(err, &untrusted) {
		return refused("%s would not be started by the firmware of this machine: %v; use a version that is signed with the machine's own key, or have the firmware trust its certificate first", what, err)
	}
	return err
}

// sweepStaging removes what upgrades to other versions have left.
func (u *Upgrader) sweepStaging(keep string) error {
	entries, err := os.ReadDir(u.path(StagingDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(u.path(StagingDir), entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// checkStagingSpace asks before the first byte is fetched whether there is space for the last.
func (u *Upgrader) checkStagingSpace(dir string, m *Manifest) error {
	var need, largest, have int64
	for _, s := range stagedFiles(m) {
		need += s.file.Unpacked.Size
		largest = max(largest, s.file.Size)
		for _, name := range []string{s.name, s.file.Name} {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
				have += info.Size()
			}
		}
	}
	need += largest - have + spare
	var fsys unix.Statfs_t
	if err := unix.Statfs(dir, &fsys); err != nil {
		return fmt.Errorf("ask for the space at %s: %w", dir, err)
	}
	if free := int64(fsys.Bavail) * fsys.Bsize; free < need {
		return refused("the upgrade needs %s on DATA (%s), and %s are free there: make room, for example with skerry crictl rmi --prune",
			bytesText(need), StagingDir, bytesText(free))
	}
	return nil
}

// stageFile brings one file, and returns how many bytes were fetched.
func (u *Upgrader) stageFile(ctx context.Context, from Source, dir string, s staged) (fetched int64, err error) {
	target, packed := filepath.Join(dir, s.name), filepath.Join(dir, s.file.Name)
	if fits(target, s.file.Unpacked) {
		return 0, nil
	}
	for try := 1; ; try++ {
		n, err := u.fetch(ctx, from, packed, s)
		fetched += n
		if err == nil {
			break
		}
		var damaged *damagedError
		if errors.As(err, &damaged) || errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil || try == fetchTries {
			return fetched, fmt.Errorf("fetch %s from %s: %w", s.file.Name, from, err)
		}
		u.Log.Warn("the download is interrupted, and goes on where it was", "file", s.file.Name, "error", err)
		select {
		case <-ctx.Done():
			return fetched, ctx.Err()
		case <-time.After(fetchPause):
		}
	}
	if err := u.unpack(packed, target, s); err != nil {
		return fetched, fmt.Errorf("unpack %s: %w", s.file.Name, err)
	}
	return fetched, os.Remove(packed)
}

// damagedError is for content that isn't what the manifest says.
type damagedError struct{ what string }

func (e *damagedError) Error() string {
	return e.what + " is not what the signed manifest says: it is damaged, or somebody has changed it"
}

// fetch brings a file as it is in the payload; what is there of it is not fetched again.
func (u *Upgrader) fetch(ctx context.Context, from Source, packed string, s staged) (fetched int64, err error) {
	if fits(packed, s.file.Content) {
		return 0, nil
	}
	file, err := os.OpenFile(packed, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	offset, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if offset >= s.file.Size { // and isn't what it should be
		offset = 0
	}
	content, at, err := from.Open(ctx, s.file.Name, offset)
	if err != nil {
		return 0, err
	}
	defer content.Close()
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	if err := file.Truncate(at); err != nil {
		return 0, err
	}
	// One byte more tells of a file that is too long.
	counted := &counter{to: file, at: at, tell: func(done int64) { u.progress("fetch the "+s.what, done, s.file.Size) }}
	fetched, err = io.Copy(counted, io.LimitReader(content, s.file.Size-at+1))
	if err != nil {
		return fetched, err
	}
	if at+fetched < s.file.Size {
		return fetched, fmt.Errorf("it ended after %d of %d bytes: %w", at+fetched, s.file.Size, io.ErrUnexpectedEOF)
	}
	if err := file.Sync(); err != nil {
		return fetched, err
	}
	if fits(packed, s.file.Content) {
		return fetched, nil
	}
	// Not even a part of it is of use.
	return fetched, errors.Join(&damagedError{s.file.Name}, os.Remove(packed))
}

// unpack writes what is in a file under its last name, if it is what the manifest says.
func (u *Upgrader) unpack(packed, target string, s staged) error {
	in, err := os.Open(packed)
	if err != nil {
		return err
	}
	defer in.Close()
	reader, err := zstd.NewReader(in, zstd.WithDecoderMaxMemory(zstdMemory), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer reader.Close()
	part := target + ".part"
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	sum := sha256.New()
	counted := &counter{to: io.MultiWriter(out, sum), tell: func(done int64) { u.progress("unpack the "+s.what, done, s.file.Unpacked.Size) }}
	n, err := io.Copy(counted, io.LimitReader(reader, s.file.Unpacked.Size+1))
	if err != nil {
		return err
	}
	if n != s.file.Unpacked.Size || hexSum(sum) != s.file.Unpacked.SHA256 {
		return errors.Join(&damagedError{"what is in " + s.file.Name}, os.Remove(part))
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	return atomicfile.Rename(part, target)
}

// fits says whether a file is what it should be.
func fits(path string, c Content) bool {
	info, err := os.Stat(path)
	if err != nil || info.Size() != c.Size {
		return false
	}
	sum, err := sumOf(path, c.Size)
	return err == nil && sum == c.SHA256
}

// sumOf is the SHA-256 of the first bytes of a file or device, as they are on the disk.
func sumOf(path string, size int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	// What is in the page cache needn't be what the disk has.
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return "", fmt.Errorf("read %s from the disk: %w", path, err)
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, file, size); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hexSum(sum), nil
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// counter tells how many bytes have passed, at most once for each part of its step.
type counter struct {
	to   io.Writer
	at   int64
	told int64
	tell func(done int64)
}

// counterStep is how many bytes pass until it is told, once more.
const counterStep = 4 << 20

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.at += int64(n)
	if c.at-c.told >= counterStep {
		c.told = c.at
		c.tell(c.at)
	}
	return n, err
}

func bytesText(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
