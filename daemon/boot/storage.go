// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/luks"
	"github.com/skerry-os/skerry/daemon/reset"
	"github.com/skerry-os/skerry/daemon/storage"
)

// storage sees to it that STATE and DATA are as the configuration has them. A machine that has nothing yet is made anew for
// that, by a reboot; one that has something is refused. Nothing has been applied.
func (b *Boot) storage(ctx context.Context, loaded *config.Loaded) error {
	section := loaded.Config.Skerry.Storage
	if section == nil || section.Encryption == "" || b.Storage == nil {
		return nil
	}
	now, err := b.Storage.Status()
	if err != nil {
		return err
	}
	if !now.Encrypted {
		return b.encrypt(ctx, loaded, section.Encryption)
	}
	if now.OpenedBy != luks.TPM2 && section.Encryption == luks.TPM2 {
		b.Log.Warn("the TPM did not open STATE and DATA; to bind them to it again: skerry storage enroll")
		return nil
	}
	if section.Encryption == luks.TPM2 && section.Passphrase != "" {
		if err := b.Storage.KeepPassphrase(ctx, string(section.Passphrase)); err != nil {
			// The machine is none the worse for it.
			b.Log.Error(err.Error())
		}
	}
	return nil
}

// encrypt has the next boot make STATE and DATA anew, encrypted.
func (b *Boot) encrypt(ctx context.Context, loaded *config.Loaded, encryption string) error {
	const refused = "skerry.storage.encryption: STATE and DATA of this machine are not encrypted, "
	_, err := os.Stat(filepath.Join(b.Machine.Root, runDir, reset.NewFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New(refused + "and are in use; reset it (skerry reset --all) to begin with encrypted ones, or take the key out")
	case err != nil:
		return err
	case loaded.Document.Source == "state":
		return errors.New(refused + "and its configuration is on them; install it with this configuration instead")
	case encryption != luks.TPM2:
		return errors.New(refused + "and with " + encryption + " only an installation makes them; install it with this configuration, or use tpm2")
	}
	if err := b.Storage.CheckTPM(ctx); err != nil {
		return fmt.Errorf("skerry.storage.encryption: %w", err)
	}
	request := &reset.Request{Parts: reset.Parts, By: "skerry.storage.encryption of the cloud-config", Encryption: luks.TPM2}
	if err := reset.Ask(b.StateDir, request); err != nil {
		return err
	}
	b.Log.Warn("skerry.storage.encryption asks for an encrypted STATE and DATA; rebooting once")
	return b.reboot(ctx, "to encrypt the disk")
}

// encryption is what there is to tell of STATE and DATA, with problems.
func (b *Boot) encryption() (*storage.Status, []string) {
	if b.Storage == nil {
		return nil, nil
	}
	found, err := b.Storage.Status()
	if err != nil {
		return nil, []string{"how STATE and DATA are encrypted is not known: " + err.Error()}
	}
	if !found.Encrypted {
		return nil, nil
	}
	var problems []string
	if !found.Passphrase {
		problems = append(problems, "nothing but the TPM opens STATE and DATA; make a recovery key: skerry storage recovery-key")
	}
	return &found, problems
}
