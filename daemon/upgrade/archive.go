// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// maxMembers is far beyond what the archive of a payload has.
const maxMembers = 1000

// archive is a tar archive of a payload's folder. It is not compressed, for its files are: each can be read from anywhere.
type archive struct {
	file    io.ReaderAt
	closer  io.Closer
	members map[string]span // by their names in the folder
}

// span is a range of a file, in bytes.
type span struct{ at, size int64 }

// openArchive reads the names of an archive's members.
func openArchive(file *os.File, err error) (*archive, error) {
	if file, err = regular(file, err); err != nil {
		return nil, err
	}
	members, err := membersOf(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file.Name(), err), file.Close())
	}
	return &archive{file, file, members}, nil
}

// membersOf finds the files that are in the same folder as the first manifest. Names are looked up, and are no paths.
func membersOf(file io.ReadSeeker) (map[string]span, error) {
	all := map[string]span{}
	folder := ""
	in := tar.NewReader(file)
	for range maxMembers {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is no tar archive, or a compressed one: a payload's folder is put into one as it is, by tar -cf: %w", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		// The reader reads no further than it has to.
		at, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean(header.Name)
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("it has two files of the name %q", name)
		}
		all[name] = span{at, header.Size}
		if folder == "" && path.Base(name) == ManifestFile {
			folder = path.Dir(name)
		}
	}
	if folder == "" {
		return nil, fmt.Errorf("it has no %s among its first %d files: %w", ManifestFile, maxMembers, fs.ErrNotExist)
	}
	members := map[string]span{}
	for name, s := range all {
		if path.Dir(name) == folder {
			members[path.Base(name)] = s
		}
	}
	return members, nil
}

func (a *archive) open(name string) (io.ReadSeekCloser, error) {
	s, ok := a.members[name]
	if !ok {
		return nil, fmt.Errorf("the archive has no %s: %w", name, fs.ErrNotExist)
	}
	return member{io.NewSectionReader(a.file, s.at, s.size)}, nil
}

func (a *archive) close() error { return a.closer.Close() }

// member is a file of an archive, which stays open.
type member struct{ *io.SectionReader }

func (member) Close() error { return nil }
