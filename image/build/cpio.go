// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// writeCPIO packs a folder as the "newc" archive that the kernel unpacks as initrd (kernel
// documentation, driver-api/early-userspace/buffer-format). Everything belongs to root and has the
// time of the epoch; inode numbers count up. The same folder always gives the same bytes.
func writeCPIO(tree, archive, epoch string) error {
	mtime, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return err
	}
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := packTree(f, tree, mtime); err != nil {
		return fmt.Errorf("pack %s: %w", tree, err)
	}
	return f.Close()
}

// packTree writes the archive of a folder to out.
func packTree(out io.Writer, tree string, mtime int64) error {
	w := newCPIO(out, mtime)
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == tree {
			return err
		}
		name, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return w.add(name, path, info)
	})
	if err != nil {
		return err
	}
	return w.close()
}

// File types in a cpio header are those of stat(2).
const (
	cpioDir     = 0o040000
	cpioFile    = 0o100000
	cpioSymlink = 0o120000
)

// cpioAlign is what all parts of an archive, and archives that follow one another, begin at a multiple of, in bytes.
const cpioAlign = 4

type cpioWriter struct {
	out     *bufio.Writer
	mtime   int64
	inode   int
	written int64
}

// newCPIO begins an archive, all of whose files have a time, in seconds since 1970.
func newCPIO(out io.Writer, mtime int64) *cpioWriter {
	return &cpioWriter{out: bufio.NewWriterSize(out, 1<<20), mtime: mtime}
}

// close ends the archive.
func (w *cpioWriter) close() error {
	if err := w.header("TRAILER!!!", 0, 0); err != nil {
		return err
	}
	return w.out.Flush()
}

func (w *cpioWriter) add(name, path string, info fs.FileInfo) error {
	perm := uint32(info.Mode().Perm())
	switch {
	case info.IsDir():
		return w.header(name, cpioDir|perm, 0)
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if err := w.header(name, cpioSymlink|0o777, int64(len(link))); err != nil {
			return err
		}
		return w.body([]byte(link))
	case info.Mode().IsRegular():
		return w.file(name, path, perm, info.Size())
	}
	return fmt.Errorf("%s is neither file, folder nor symbolic link", name)
}

// file adds one of a size, which it must still have.
func (w *cpioWriter) file(name, path string, perm uint32, size int64) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := w.header(name, cpioFile|perm, size); err != nil {
		return err
	}
	n, err := io.Copy(w.out, file)
	w.written += n
	if err == nil && n != size {
		err = fmt.Errorf("%s has %d bytes, and had %d", path, n, size)
	}
	if err != nil {
		return err
	}
	return w.pad()
}

func (w *cpioWriter) header(name string, mode uint32, size int64) error {
	w.inode++
	links := 1
	if mode&cpioDir == cpioDir && mode&cpioFile != cpioFile {
		links = 2
	}
	return w.body([]byte(fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		w.inode, mode, 0, 0, links, w.mtime, size, 0, 0, 0, 0, len(name)+1, 0, name)))
}

// body writes and pads.
func (w *cpioWriter) body(content []byte) error {
	n, err := w.out.Write(content)
	w.written += int64(n)
	if err != nil {
		return err
	}
	return w.pad()
}

// pad writes zeros up to a multiple of four bytes.
func (w *cpioWriter) pad() error {
	for w.written%cpioAlign != 0 {
		if err := w.out.WriteByte(0); err != nil {
			return err
		}
		w.written++
	}
	return nil
}
