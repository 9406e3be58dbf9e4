// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/rand"
	"encoding/json"
	"fmt"

	"golang.org/x/crypto/bcrypt"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// noPassword is the second column of shadow(5) for a user without one. It is an
// asterisk, which no password matches, and not an exclamation mark, which sshd
// takes for a locked account whose keys don't count either.
const noPassword = "*"

// passwordFields returns the second column of shadow(5) by user. Passwords of
// chpasswd count over those of the users, as they are set later in cloud-init.
func (m *Machine) passwordFields(loaded *config.Loaded, list []configschema.User, shadow *table) (map[string]string, error) {
	fields := map[string]string{}
	for i := range list {
		hash, text := list[i].Password()
		field, err := m.passwordField(hash, text, shadow.row(list[i].Name))
		if err != nil {
			return nil, fmt.Errorf("password of %s: %w", list[i].Name, err)
		}
		fields[list[i].Name] = field
	}
	for _, set := range loaded.Config.ChPasswd.Passwords() {
		var field string
		var err error
		switch set.Type {
		case configschema.PasswordRandom:
			field, err = m.randomPassword(loaded, set.Name)
		case configschema.PasswordText:
			field, err = m.passwordField("", set.Password, shadow.row(set.Name))
		default:
			field, err = m.passwordField(set.Password, "", nil)
		}
		if err != nil {
			return nil, fmt.Errorf("chpasswd of %s: %w", set.Name, err)
		}
		fields[set.Name] = field
	}
	return fields, nil
}

// passwordField returns the hash, or one of the text. The old row's is kept
// where it is one of the same text: each hash has a salt of its own.
func (m *Machine) passwordField(hash, text configschema.Secret, old []string) (string, error) {
	switch {
	case hash != "":
		return hash.Reveal(), nil
	case text == "":
		return noPassword, nil
	}
	password := []byte(text.Reveal())
	if len(old) > 1 && bcrypt.CompareHashAndPassword([]byte(old[1]), password) == nil {
		return old[1], nil
	}
	made, err := bcrypt.GenerateFromPassword(password, bcrypt.DefaultCost)
	return string(made), err
}

// randomPassword makes a password up once in an instance, and writes it to the
// console, which is the only place where it can be read. STATE has its hash.
func (m *Machine) randomPassword(loaded *config.Loaded, name string) (string, error) {
	file, err := m.stamp(loaded, "passwords")
	if err != nil {
		return "", err
	}
	text, known, err := m.remembered(file)
	if err != nil {
		return "", err
	}
	hashes := map[string]string{}
	if known {
		if err := json.Unmarshal([]byte(text), &hashes); err != nil {
			return "", fmt.Errorf("read %s: %w", file, err)
		}
	}
	if hash := hashes[name]; hash != "" {
		return hash, nil
	}
	password := rand.Text()[:passwordLength]
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return "", err
	}
	// Shown first: a password that was kept and never shown would be lost.
	if err := m.System.Announce(fmt.Sprintf("The password of %s, made up for this instance, is %s\n", name, password)); err != nil {
		return "", fmt.Errorf("show the password on the console: %w", err)
	}
	hashes[name] = string(hash)
	data, err := json.Marshal(hashes)
	if err != nil {
		return "", err
	}
	return hashes[name], m.remember(file, string(data))
}

// passwordLength is 100 bits of the 32 letters that rand.Text uses.
const passwordLength = 20
