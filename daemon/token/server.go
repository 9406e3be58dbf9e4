// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// randomBytes is the size of a generated server token.
const randomBytes = 16

// Options are the secrets a user chose, if any.
type Options struct {
	// Token is the server's: full or short. Empty: the one of the last start, or
	// else a random one.
	Token string
	// AgentToken lets agents join, but not servers. Empty: agents use Token.
	AgentToken string
	// CABundle is what full tokens carry the hash of.
	CABundle []byte
}

// Tokens are the secrets of a running server. They don't change: Rotated returns
// others.
type Tokens struct {
	Server Token
	Agent  Token
	// Passwd is what requests are checked against.
	Passwd *Passwd
}

// Ensure makes the server directory dir hold cred/passwd, token, node-token and
// agent-token. What the user chose wins over what is there, unless it is a token
// that was replaced (RetiredError); what nobody chose is made once and kept. The
// password file is written first and is what later starts go by, so an
// interruption can't leave a token that doesn't work.
func Ensure(dir string, opts Options) (*Tokens, error) {
	hash, err := CAHash(opts.CABundle)
	if err != nil {
		return nil, err
	}
	passwdFile := filepath.Join(dir, "cred", "passwd")
	passwd, err := ReadPasswd(passwdFile)
	if err != nil {
		return nil, err
	}
	server, err := serverPassword(dir, opts.Token, passwd)
	if err != nil {
		return nil, err
	}
	if err := checkRetired(dir, server, passwd.Password(UserServer)); err != nil {
		return nil, err
	}
	agent := server
	if opts.AgentToken != "" {
		if agent, err = password(opts.AgentToken); err != nil {
			return nil, fmt.Errorf("agent token: %w", err)
		}
	}
	passwd.Set(UserServer, server, RoleServer)
	passwd.Set(UserNode, agent, RoleAgent)
	if err := passwd.Write(passwdFile); err != nil {
		return nil, err
	}

	t := &Tokens{
		Server: Token{CAHash: hash, Username: UserServer, Password: server},
		Agent:  Token{CAHash: hash, Username: UserNode, Password: agent},
		Passwd: passwd,
	}
	return t, t.writeFiles(dir)
}

// writeFiles writes the files that people and nodes read tokens from.
func (t *Tokens) writeFiles(dir string) error {
	if err := writeToken(filepath.Join(dir, "token"), t.Server); err != nil {
		return err
	}
	if err := atomicfile.Symlink("token", filepath.Join(dir, "node-token")); err != nil {
		return err
	}
	agentFile := filepath.Join(dir, "agent-token")
	if t.Agent.Password == t.Server.Password {
		return atomicfile.Symlink("token", agentFile)
	}
	return writeToken(agentFile, t.Agent)
}

// ServerPassword returns the secret part of the server token, chosen by the user or not, and keeps a random one: it is the
// first of the server's secrets to be there, since it finds the others in the datastore. before is that of the last start,
// if it was another. The server directory dir must exist. A token that was replaced is refused (RetiredError).
func ServerPassword(dir, chosen string) (server, before string, err error) {
	file := filepath.Join(dir, "cred", "passwd")
	passwd, err := ReadPasswd(file)
	if err != nil {
		return "", "", err
	}
	if server, err = serverPassword(dir, chosen, passwd); err != nil {
		return "", "", err
	}
	if before = passwd.Password(UserServer); before == server {
		return server, "", nil
	}
	if chosen != "" {
		return server, before, checkRetired(dir, server, before)
	}
	passwd.Set(UserServer, server, RoleServer)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", "", fmt.Errorf("keep server token: %w", err)
	}
	return server, "", passwd.Write(file)
}

func serverPassword(dir, chosen string, passwd *Passwd) (string, error) {
	if chosen != "" {
		chosen, err := password(chosen)
		if err != nil {
			return "", fmt.Errorf("server token: %w", err)
		}
		return chosen, nil
	}
	if kept := passwd.Password(UserServer); kept != "" {
		return kept, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "token"))
	if err == nil {
		return password(string(data))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return randomPassword(), nil
}

func randomPassword() string {
	random := make([]byte, randomBytes)
	rand.Read(random) //nolint:errcheck // crypto/rand's Read never fails
	return hex.EncodeToString(random)
}

// password returns the secret part of a token of either form.
func password(s string) (string, error) {
	t, err := Parse(s)
	if err != nil {
		return "", err
	}
	if t.Bootstrap != "" {
		return "", ErrBootstrapServer
	}
	return t.Password, nil
}

func writeToken(file string, t Token) error {
	return atomicfile.WriteIfChanged(file, []byte(t.String()+"\n"), 0o600)
}
