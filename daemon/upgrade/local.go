// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// files are those of a payload in a file system.
type files interface {
	open(name string) (io.ReadSeekCloser, error)
	close() error
}

// local is a payload in this machine's own files: a folder, or a tar archive of it.
type local struct {
	path  string
	files files // once it was opened
}

func folder(path string) Source { return &local{path: path} }

func (l *local) String() string { return l.path }

func (l *local) Close() error {
	if l.files == nil {
		return nil
	}
	return l.files.close()
}

func (l *local) Open(_ context.Context, name string, offset int64) (io.ReadCloser, int64, error) {
	if l.files == nil {
		info, err := os.Stat(l.path)
		if err != nil {
			return nil, 0, err
		}
		if info.IsDir() {
			l.files = directory(func(name string) (*os.File, error) {
				return os.OpenFile(filepath.Join(l.path, name), openFlags, 0)
			})
		} else if l.files, err = openArchive(os.OpenFile(l.path, openFlags, 0)); err != nil {
			return nil, 0, err
		}
	}
	return openFrom(l.files, name, offset)
}

func openFrom(f files, name string, offset int64) (io.ReadCloser, int64, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, 0, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, offset, nil
}

// openFlags don't wait for somebody to write to a named pipe.
const openFlags = os.O_RDONLY | unix.O_NONBLOCK

// directory is a folder, by what opens a file in it.
type directory func(name string) (*os.File, error)

func (d directory) open(name string) (io.ReadSeekCloser, error) { return regular(d(name)) }

func (d directory) close() error { return nil }

// regular refuses what isn't a file of bytes, such as a device.
func regular(file *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file: %w", file.Name(), fs.ErrInvalid)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
