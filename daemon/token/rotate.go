// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Rotated returns t with another server token, of either form, or a random one if
// text is empty; and with it as agent token, where agents use the server's.
// Nothing is written.
func (t *Tokens) Rotated(text string) (*Tokens, error) {
	secret, err := randomPassword(), error(nil)
	if text != "" {
		secret, err = password(text)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("new token: %w", err)
	case secret == t.Server.Password:
		return nil, ErrSameToken
	}
	next := &Tokens{Server: t.Server, Agent: t.Agent, Passwd: &Passwd{lines: slices.Clone(t.Passwd.lines)}}
	next.Server.Password = secret
	next.Passwd.Set(UserServer, secret, RoleServer)
	if t.Agent.Password == t.Server.Password {
		next.Agent.Password = secret
		next.Passwd.Set(UserNode, secret, RoleAgent)
	}
	return next, nil
}

// Keep writes tokens made by Rotated to the server directory dir, in place of
// those there are, which a later Ensure refuses: it is not to be undone by a
// configuration that nobody changed.
func (t *Tokens) Keep(dir string, now time.Time) error {
	passwdFile := filepath.Join(dir, "cred", "passwd")
	before, err := ReadPasswd(passwdFile)
	if err != nil {
		return err
	}
	// The list first: a token that is on it and yet the one in use is taken.
	if err := retire(dir, before.Password(UserServer), t.Server.Password, now); err != nil {
		return err
	}
	if err := t.Passwd.Write(passwdFile); err != nil {
		return err
	}
	return t.writeFiles(dir)
}

// retired is a token that was replaced. It may be used elsewhere, so there is no
// more of it than is needed to recognise it.
type retired struct {
	At   time.Time
	Salt []byte
	Hash []byte
}

const (
	retiredFile = "cred/retired-tokens.json"
	// maxRetired is how many are remembered.
	maxRetired = 8
	saltBytes  = 16
	// iterations make guessing a weak token slow, and a start no slower than anybody would notice.
	iterations = 50_000
)

func (r retired) is(password string) (bool, error) {
	hash, err := hashRetired(password, r.Salt)
	return subtle.ConstantTimeCompare(hash, r.Hash) == 1, err
}

func hashRetired(password string, salt []byte) ([]byte, error) {
	hash, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("hash token: %w", err)
	}
	return hash, nil
}

func readRetired(dir string) ([]retired, error) {
	file := filepath.Join(dir, retiredFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read replaced tokens: %w", err)
	}
	var all []retired
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("read replaced tokens from %s: %w; remove it, and any token is taken", file, err)
	}
	return all, nil
}

// retire puts a password on the list, and takes the one that is used from now on
// off it.
func retire(dir, old, used string, now time.Time) error {
	all, err := readRetired(dir)
	if err != nil {
		return err
	}
	var left []retired
	for _, r := range all {
		is, err := r.is(used)
		if err != nil {
			return err
		}
		if !is {
			left = append(left, r)
		}
	}
	if old != "" {
		r := retired{At: now.UTC().Truncate(time.Second), Salt: make([]byte, saltBytes)}
		rand.Read(r.Salt) //nolint:errcheck // crypto/rand's Read never fails
		if r.Hash, err = hashRetired(old, r.Salt); err != nil {
			return err
		}
		left = append(left, r)
	}
	data, err := json.Marshal(left[max(0, len(left)-maxRetired):])
	if err != nil {
		return fmt.Errorf("encode replaced tokens: %w", err)
	}
	return atomicfile.Write(filepath.Join(dir, retiredFile), data, 0o600)
}

// RetiredError says that a server was started with a token that was replaced.
type RetiredError struct {
	At   time.Time
	File string // that has the token of now
}

func (e *RetiredError) Error() string {
	return fmt.Sprintf("skerry.cluster.token is the one that skerry token rotate replaced on %s; "+
		"put the new one, which is in %s, into the cloud-config: started with the old one, this server would undo that",
		e.At.Format(time.RFC3339), e.File)
}

// checkRetired refuses a chosen password that was replaced by the one in use.
func checkRetired(dir, chosen, used string) error {
	if chosen == used {
		return nil
	}
	all, err := readRetired(dir)
	if err != nil {
		return err
	}
	for _, r := range all {
		is, err := r.is(chosen)
		if err != nil {
			return err
		}
		if is {
			return &RetiredError{At: r.At, File: filepath.Join(dir, "token")}
		}
	}
	return nil
}
