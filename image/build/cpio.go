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
	w := &cpioWriter{out: bufio.NewWriterSize(f, 1<<20), mtime: mtime}
	err = filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
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
		return fmt.Errorf("pack %s: %w", tree, err)
	}
	if err := w.header("TRAILER!!!", 0, 0); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// File types in a cpio header are those of stat(2).
const (
	cpioDir     = 0o040000
	cpioFile    = 0o100000
	cpioSymlink = 0o120000
)

type cpioWriter struct {
	out     *bufio.Writer
	mtime   int64
	inode   int
	written int64
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
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.header(name, cpioFile|perm, int64(len(content))); err != nil {
			return err
		}
		return w.body(content)
	}
	return fmt.Errorf("%s is neither file, folder nor symbolic link", name)
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

// body writes and pads to four bytes.
func (w *cpioWriter) body(content []byte) error {
	n, err := w.out.Write(content)
	w.written += int64(n)
	for err == nil && w.written%4 != 0 {
		_, err = io.WriteString(w.out, "\x00")
		w.written++
	}
	return err
}
