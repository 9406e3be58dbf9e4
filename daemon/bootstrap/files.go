// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// fileMode is of every file that comes from the datastore; whoever uses one may widen it.
const fileMode = 0o600

// paths are the files that make up a cluster's identity, by K3s' names for them, below the server directory.
var paths = map[string]string{
	"ClientCA":           "tls/client-ca.crt",
	"ClientCAKey":        "tls/client-ca.key",
	"ETCDPeerCA":         "tls/etcd/peer-ca.crt",
	"ETCDPeerCAKey":      "tls/etcd/peer-ca.key",
	"ETCDServerCA":       "tls/etcd/server-ca.crt",
	"ETCDServerCAKey":    "tls/etcd/server-ca.key",
	EncryptionConfig:     "cred/encryption-config.json",
	EncryptionState:      "cred/encryption-state.json",
	"IPSECKey":           "cred/ipsec.psk",
	"PasswdFile":         "cred/passwd",
	"RequestHeaderCA":    "tls/request-header-ca.crt",
	"RequestHeaderCAKey": "tls/request-header-ca.key",
	"ServerCA":           "tls/server-ca.crt",
	"ServerCAKey":        "tls/server-ca.key",
	"ServiceKey":         "tls/service.key",
}

// Names of files that change while servers run.
const (
	EncryptionConfig = "EncryptionConfig"
	EncryptionState  = "EncryptionHash"
)

// changing files are in the datastore before they are on any disk: the datastore's is the one that its Secrets are
// encrypted with, also where it was restored from a backup that is older than the disk.
var changing = map[string]bool{EncryptionConfig: true, EncryptionState: true}

// passwdFile goes by a server's configuration and by rotations of its token: the disk's is never replaced.
const passwdFile = "PasswdFile"

// file is one file as K3s stores it: JSON has the content in base64.
type file struct {
	Timestamp time.Time
	Content   []byte
}

// files are by name.
type files map[string]file

// readFiles returns those of paths that are below dir.
func readFiles(dir string) (files, error) {
	found := files{}
	for name, path := range paths {
		path = filepath.Join(dir, path)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the cluster's identity: %w", err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the cluster's identity: %w", err)
		}
		if len(content) > 0 {
			found[name] = file{Timestamp: info.ModTime().UTC().Truncate(time.Second), Content: content}
		}
	}
	return found, nil
}

// Export returns the files of the identity that are below the server directory dir in K3s' form, as JSON in the clear: what
// servers that join an embedded etcd are given.
func Export(dir string) ([]byte, error) {
	found, err := readFiles(dir)
	if err != nil {
		return nil, err
	}
	delete(found, passwdFile) // a server has its own
	return json.Marshal(found)
}

// Import makes the files below dir those of another server's Export, or of a server of K3s. A file that is newer than the
// other server's is an error (NewerOnDiskError), and nothing is written then.
func Import(dir string, exported []byte) error {
	found, err := parseFiles(exported)
	if err != nil {
		return err
	}
	delete(found, passwdFile)
	_, err = found.adopt(dir)
	return err
}

// parseFiles reads the plain text of bootstrap data. Older releases of K3s had the contents alone.
func parseFiles(plain []byte) (files, error) {
	var found files
	err := json.Unmarshal(plain, &found)
	if err == nil {
		return found, nil
	}
	var contents map[string][]byte
	if json.Unmarshal(plain, &contents) != nil {
		return nil, fmt.Errorf("bootstrap data is no map of files: %w", err)
	}
	found = files{}
	for name, content := range contents {
		found[name] = file{Content: content}
	}
	return found, nil
}

// adopt makes the files below dir those of the datastore. A file on disk that is newer than the datastore's was changed
// by hand or belongs to another cluster: then nothing is written at all. It returns those that only dir has.
func (f files) adopt(dir string) (extra files, err error) {
	onDisk, err := readFiles(dir)
	if err != nil {
		return nil, err
	}
	var newer, write []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		path, ok := paths[name]
		if !ok {
			continue // of a later release
		}
		have, ok := onDisk[name]
		switch {
		case len(f[name].Content) == 0 || ok && (name == passwdFile || string(have.Content) == string(f[name].Content)):
		case ok && !changing[name] && have.Timestamp.Sub(f[name].Timestamp) >= newerBy:
			newer = append(newer, filepath.Join(dir, path))
		default:
			write = append(write, name)
		}
	}
	if len(newer) > 0 {
		return nil, &NewerOnDiskError{Files: newer}
	}
	for _, name := range write {
		if err := f[name].write(filepath.Join(dir, paths[name])); err != nil {
			return nil, err
		}
	}
	extra = files{}
	for name, have := range onDisk {
		if len(f[name].Content) == 0 {
			extra[name] = have
		}
	}
	return extra, nil
}

func (f file) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the cluster's identity: %w", err)
	}
	if err := atomicfile.Write(path, f.Content, fileMode); err != nil {
		return err
	}
	if f.Timestamp.IsZero() {
		return nil
	}
	return os.Chtimes(path, f.Timestamp, f.Timestamp)
}
