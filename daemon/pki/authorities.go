// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// authorityNames are those of a server; one that is no member of an embedded etcd
// has the first three.
var authorityNames = []string{"client", "server", "request-header", "etcd/server", "etcd/peer"}

// serviceKeyFile holds the keys that tokens of service accounts are verified
// with; the first signs them.
const serviceKeyFile = "service.key"

// Authorities are the files that everything else is signed with, by their names
// below server/tls: NAME-ca.crt, NAME-ca.key and service.key. As JSON they have
// the form in which servers of K3s exchange them.
type Authorities map[string][]byte

// wireNames are K3s'.
var wireNames = map[string]string{
	"client-ca.crt":         "ClientCA",
	"client-ca.key":         "ClientCAKey",
	"server-ca.crt":         "ServerCA",
	"server-ca.key":         "ServerCAKey",
	"request-header-ca.crt": "RequestHeaderCA",
	"request-header-ca.key": "RequestHeaderCAKey",
	"etcd/server-ca.crt":    "ETCDServerCA",
	"etcd/server-ca.key":    "ETCDServerCAKey",
	"etcd/peer-ca.crt":      "ETCDPeerCA",
	"etcd/peer-ca.key":      "ETCDPeerCAKey",
	serviceKeyFile:          "ServiceKey",
}

// wireFile is one file; JSON has the content in base64.
type wireFile struct {
	Timestamp time.Time
	Content   []byte
}

// MarshalJSON implements json.Marshaler.
func (a Authorities) MarshalJSON() ([]byte, error) {
	wire := map[string]wireFile{}
	for file, content := range a {
		name, ok := wireNames[file]
		if !ok {
			return nil, fmt.Errorf("%s is no file of an authority", file)
		}
		wire[name] = wireFile{Timestamp: time.Now().UTC().Truncate(time.Second), Content: content}
	}
	return json.Marshal(wire)
}

// UnmarshalJSON implements json.Unmarshaler. Files of other kinds, which K3s
// sends along, are left out.
func (a *Authorities) UnmarshalJSON(data []byte) error {
	var wire map[string]wireFile
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*a = Authorities{}
	for file, name := range wireNames {
		if content := wire[name].Content; len(content) > 0 {
			(*a)[file] = content
		}
	}
	return nil
}

// ReadAuthorities returns the files that there are in dir, such as server/tls.
func ReadAuthorities(dir string) (Authorities, error) {
	found := Authorities{}
	for file := range wireNames {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		found[file] = content
	}
	return found, nil
}

// files returns a below a directory, certificates readable by everybody.
func (a Authorities) files(dir string) []atomicfile.File {
	var files []atomicfile.File
	for file, content := range a {
		mode := fs.FileMode(keyMode)
		if filepath.Ext(file) == ".crt" {
			mode = certMode
		}
		files = append(files, atomicfile.File{Path: filepath.Join(dir, file), Data: content, Mode: mode})
	}
	slices.SortFunc(files, func(x, y atomicfile.File) int { return strings.Compare(x.Path, y.Path) })
	return files
}

// Write writes the files below dir, which others than the owner can't read.
func (a Authorities) Write(dir string) error {
	files := a.files(dir)
	for _, file := range files {
		if err := os.MkdirAll(filepath.Dir(file.Path), dirMode); err != nil {
			return fmt.Errorf("write authorities: %w", err)
		}
	}
	return atomicfile.Replace(files...)
}

// stagedFile is the journal of authorities that are to take the place of those
// there are, in the server directory.
const stagedFile = "new-authorities.journal"

// Stage makes the next Ensure of the server directory dir put these files in the
// place of those of the same name, all of them or, should the power fail
// before Stage returns, none. What is there is copied before, to the directory it
// returns. They must have been checked.
func (a Authorities) Stage(dir string, now time.Time) (backup string, err error) {
	if backup, err = Backup(dir, "", now); err != nil {
		return "", err
	}
	return backup, atomicfile.Stage(filepath.Join(dir, stagedFile), a.files("tls"))
}
