// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Roles that users of the password file have.
const (
	RoleServer = "k3s:server"
	RoleAgent  = "k3s:agent"
)

// Passwd is the content of S/cred/passwd: lines of password, user, user, role.
// Lines of other users are kept as they are.
type Passwd struct {
	lines [][]string
}

// ReadPasswd reads file; one that doesn't exist is empty.
func ReadPasswd(file string) (*Passwd, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &Passwd{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read password file: %w", err)
	}
	p, err := ParsePasswd(data)
	if err != nil {
		return nil, fmt.Errorf("read password file %s: %w", file, err)
	}
	return p, nil
}

// ParsePasswd reads the format of Kubernetes' old basic-auth files.
func ParsePasswd(data []byte) (*Passwd, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = -1
	lines, err := r.ReadAll()
	if err != nil {
		// The reader's own words are positions only, so no secret leaks.
		return nil, err
	}
	for i, line := range lines {
		if len(line) < 3 {
			return nil, fmt.Errorf("record %d has %d fields, want password, user, user and role", i+1, len(line))
		}
	}
	return &Passwd{lines: lines}, nil
}

// Write replaces file with p's content.
func (p *Passwd) Write(file string) error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(p.lines); err != nil {
		return fmt.Errorf("encode password file: %w", err)
	}
	return atomicfile.WriteIfChanged(file, b.Bytes(), 0o600)
}

// Password returns the password of user, or "".
func (p *Passwd) Password(user string) string {
	if i := p.find(user); i >= 0 {
		return p.lines[i][0]
	}
	return ""
}

// Set gives user this password and role.
func (p *Passwd) Set(user, password, role string) {
	line := []string{password, user, user, role}
	if i := p.find(user); i >= 0 {
		p.lines[i] = line
		return
	}
	p.lines = append(p.lines, line)
}

// Authenticate returns the roles of user, and whether the password is right.
// The time it takes tells nothing about the password.
func (p *Passwd) Authenticate(user, password string) (roles []string, ok bool) {
	var want string
	i := p.find(user)
	if i >= 0 {
		want, roles = p.lines[i][0], p.lines[i][3:]
	}
	// Digests are compared since they are of one length.
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(password))
	if subtle.ConstantTimeCompare(a[:], b[:]) != 1 || want == "" {
		return nil, false
	}
	return slices.Clone(roles), true
}

func (p *Passwd) find(user string) int {
	return slices.IndexFunc(p.lines, func(line []string) bool { return line[1] == user })
}
