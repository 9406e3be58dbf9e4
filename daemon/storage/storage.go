// SPDX-License-Identifier: Apache-2.0

// Package storage keeps the keys of an encrypted STATE and DATA.
//
// The initrd opens and makes them (daemon/initrd); this is what the running machine does: it finds out how they are, has a
// passphrase or the TPM open them, too, and says whether the TPM can be relied on before anything is made with it.
//
// It works with systemd-cryptenroll, whose keys and passphrases go through files of a tmpfs: never through arguments.
package storage

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/luks"
)

// ErrNotEncrypted is of a machine whose STATE and DATA are not.
var ErrNotEncrypted = errors.New("STATE and DATA of this machine are not encrypted")

// names are the partitions, as the disk's layout has them after "skerry-".
var names = []string{"state", "data"}

// passphraseFile is on STATE, and tells whether a passphrase has been given to both partitions.
const passphraseFile = "passphrase.json"

// Storage is that of a machine.
type Storage struct {
	// Partitions is where udev names partitions by their labels, State is /state, Run is /run/skerry, TPM the TPM's device.
	Partitions, State, Run, TPM string
	// Exec runs a program of the image, with files that only it can read as its credentials, and standard input.
	Exec func(ctx context.Context, credentials map[string]string, stdin []byte, program string, args ...string) (stdout []byte, err error)
}

// Here is the storage of this machine.
func Here() *Storage {
	return &Storage{Partitions: "/dev/disk/by-partlabel", State: "/state", Run: "/run/skerry", TPM: "/dev/tpmrm0", Exec: run}
}

// Status is how STATE and DATA are.
type Status struct {
	Encrypted bool `json:"encrypted" yaml:"encrypted"`
	// OpenedBy is what opened them at this boot: tpm2 or passphrase.
	OpenedBy string `json:"openedBy,omitempty" yaml:"openedBy,omitempty"`
	// Passphrase is whether a passphrase or recovery key was given to them since they were made.
	Passphrase bool `json:"passphrase" yaml:"passphrase"`
}

// Status looks at the machine.
func (s *Storage) Status() (Status, error) {
	var found Status
	for _, name := range names {
		encrypted, err := luks.Encrypted(s.device(name))
		if err != nil {
			return Status{}, err
		}
		found.Encrypted = found.Encrypted || encrypted
	}
	if !found.Encrypted {
		return found, nil
	}
	by, err := os.ReadFile(filepath.Join(s.Run, luks.UnlockedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Status{}, err
	}
	found.OpenedBy = strings.TrimSpace(string(by))
	_, err = os.Stat(filepath.Join(s.State, passphraseFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Status{}, err
	}
	found.Passphrase = err == nil || found.OpenedBy == luks.Passphrase
	return found, nil
}

func (s *Storage) device(name string) string { return filepath.Join(s.Partitions, "skerry-"+name) }

// CheckTPM has the TPM give out something that it was given. The error says why it can't be relied on.
func (s *Storage) CheckTPM(ctx context.Context) error {
	if _, err := os.Stat(s.TPM); errors.Is(err, fs.ErrNotExist) {
		return errors.New("this machine has no TPM 2.0 that its firmware shows")
	} else if err != nil {
		return err
	}
	secret := []byte(rand.Text())
	const creds = "/usr/bin/systemd-creds"
	sealed, err := s.Exec(ctx, nil, secret, creds, "encrypt", "--with-key=tpm2", luks.PCRs, "--name=skerry-check", "-", "-")
	if err != nil {
		return fmt.Errorf("try the TPM: %w", err)
	}
	opened, err := s.Exec(ctx, nil, sealed, creds, "decrypt", "--name=skerry-check", "-", "-")
	if err != nil {
		return fmt.Errorf("try the TPM: %w", err)
	}
	if !bytes.Equal(opened, secret) {
		return errors.New("the TPM gives out something else than it was given")
	}
	return nil
}

const cryptenroll = "/usr/bin/systemd-cryptenroll"

// The names of systemd-cryptenroll's credentials.
const (
	unlockCredential = "unlock" // of ours: the file that --unlock-key-file names
	newCredential    = "cryptenroll.new-passphrase"
)

// KeepPassphrase has a passphrase open STATE and DATA, in place of one that was given to them before. The TPM has to open
// them for that. It does nothing where that was done already.
func (s *Storage) KeepPassphrase(ctx context.Context, passphrase string) error {
	known, err := s.knows(passphrase)
	if err != nil || known {
		return err
	}
	if err := s.each(func(device string) error {
		_, err := s.Exec(ctx, map[string]string{newCredential: passphrase}, nil, cryptenroll,
			"--unlock-tpm2-device=auto", "--password", "--wipe-slot=password", device)
		return err
	}); err != nil {
		return fmt.Errorf("give the passphrase to STATE and DATA: %w", err)
	}
	return s.remember(passphrase)
}

// recoveryBytes make a recovery key of 32 letters and digits: 160 bits.
const recoveryBytes = 20

// NewRecoveryKey makes a passphrase that nobody knows yet, has it open STATE and DATA in place of the one before, and
// returns it. It is not kept anywhere.
func (s *Storage) NewRecoveryKey(ctx context.Context) (string, error) {
	random := make([]byte, recoveryBytes)
	rand.Read(random) //nolint:errcheck // it never fails
	text := strings.ToLower(base32.StdEncoding.EncodeToString(random))
	var groups []string
	for ; len(text) > 4; text = text[4:] {
		groups = append(groups, text[:4])
	}
	key := strings.Join(append(groups, text), "-")
	return key, s.KeepPassphrase(ctx, key)
}

// EnrollTPM binds STATE and DATA to the TPM as it is now, in place of what they were bound to. Passphrase opens them.
func (s *Storage) EnrollTPM(ctx context.Context, passphrase string) error {
	if err := s.CheckTPM(ctx); err != nil {
		return err
	}
	if err := s.each(func(device string) error {
		unlock := "--unlock-key-file=" + filepath.Join(s.credentials(), unlockCredential)
		for _, step := range []struct {
			credentials map[string]string
			args        []string
		}{
			// Given anew, the passphrase is known to be right.
			{map[string]string{unlockCredential: passphrase, newCredential: passphrase}, []string{unlock, "--password", "--wipe-slot=password"}},
			// With the same PCRs systemd-cryptenroll 257 takes a key for enrolled that another TPM had: that goes before.
			{nil, []string{"--wipe-slot=tpm2"}},
			{map[string]string{unlockCredential: passphrase}, []string{unlock, "--tpm2-device=auto", luks.PCRs}},
		} {
			if _, err := s.Exec(ctx, step.credentials, nil, cryptenroll, append(step.args, device)...); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("bind STATE and DATA to the TPM: %w", err)
	}
	return s.remember(passphrase)
}

// each does something with the partitions, which have to be encrypted.
func (s *Storage) each(do func(device string) error) error {
	for _, name := range names {
		encrypted, err := luks.Encrypted(s.device(name))
		if err != nil {
			return err
		}
		if !encrypted {
			return ErrNotEncrypted
		}
	}
	for _, name := range names {
		if err := do(s.device(name)); err != nil {
			return err
		}
	}
	return nil
}

// marked is what passphraseFile has: enough to know the same passphrase again, on a partition that it opens anyway.
type marked struct {
	Salt []byte `json:"salt"`
	Hash []byte `json:"hash"`
}

func hash(salt []byte, passphrase string) []byte {
	mac := hmac.New(sha256.New, salt)
	io.WriteString(mac, passphrase) //nolint:errcheck // it never fails
	return mac.Sum(nil)
}

func (s *Storage) knows(passphrase string) (bool, error) {
	data, err := os.ReadFile(filepath.Join(s.State, passphraseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var m marked
	if err := json.Unmarshal(data, &m); err != nil {
		return false, fmt.Errorf("read %s: %w", passphraseFile, err)
	}
	return hmac.Equal(m.Hash, hash(m.Salt, passphrase)), nil
}

func (s *Storage) remember(passphrase string) error {
	salt := []byte(rand.Text())
	data, err := json.Marshal(marked{salt, hash(salt, passphrase)})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(s.State, passphraseFile), data, 0o600)
}

// credentials is the folder with what a program may read.
func (s *Storage) credentials() string { return filepath.Join(s.Run, "storage") }

// run is Exec on this machine. Who calls it twice at the same time is kept apart by there being one daemon, and one person.
func run(ctx context.Context, credentials map[string]string, stdin []byte, program string, args ...string) (_ []byte, err error) {
	dir := Here().credentials()
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for name, secret := range credentials {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "CREDENTIALS_DIRECTORY="+dir)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
