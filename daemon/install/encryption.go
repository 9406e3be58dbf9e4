// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/luks"
)

// checkMapping is what STATE is called while it is read back.
const checkMapping = "skerry-install-state"

// sealing is how STATE is made. The first boot makes DATA as STATE is.
type sealing struct {
	tpm     bool
	keyFile string // of the passphrase; empty without
}

// seal prepares for what the cloud-config says, and is nil for a plain STATE.
func (i *Installer) seal(ctx context.Context, section *configschema.Storage) (*sealing, error) {
	if section == nil || section.Encryption == "" {
		return nil, nil
	}
	s := &sealing{tpm: section.Encryption == luks.TPM2}
	if s.tpm {
		if err := i.CheckTPM(ctx); err != nil {
			return nil, fmt.Errorf("skerry.storage.encryption: %w", err)
		}
	}
	if section.Passphrase != "" {
		if _, elsewhere := section.Passphrase.Reference(); elsewhere {
			return nil, errors.New("skerry.storage.passphrase is elsewhere, and was not read")
		}
		s.keyFile = filepath.Join(i.Dir, "passphrase") // on a tmpfs
		if err := os.WriteFile(s.keyFile, []byte(section.Passphrase), 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// lines complete the definition of STATE.
func (s *sealing) lines() []string {
	switch {
	case s == nil:
		return nil
	case s.tpm && s.keyFile != "":
		return []string{"Encrypt=key-file+tpm2"}
	case s.tpm:
		return []string{"Encrypt=tpm2"}
	}
	return []string{"Encrypt=key-file"}
}

// arguments are those of systemd-repart.
func (s *sealing) arguments() (args []string) {
	if s == nil {
		return nil
	}
	if s.tpm {
		args = append(args, "--tpm2-device=auto", luks.PCRs)
	}
	if s.keyFile != "" {
		args = append(args, "--key-file="+s.keyFile)
	}
	return args
}

// opened opens STATE as a boot does, for as long as a function looks at it.
func (i *Installer) opened(ctx context.Context, device string, s *sealing, look func(device string) error) (err error) {
	if s == nil {
		return look(device)
	}
	const cryptsetup = "/usr/bin/systemd-cryptsetup"
	key, options := "-", "luks,headless=true,read-only,tpm2-device=auto"
	if !s.tpm {
		key, options = s.keyFile, "luks,headless=true,read-only"
	}
	if _, err := i.Run(ctx, cryptsetup, "attach", checkMapping, device, key, options); err != nil {
		return fmt.Errorf("open STATE: %w", err)
	}
	defer func() {
		_, detaching := i.Run(context.WithoutCancel(ctx), cryptsetup, "detach", checkMapping)
		err = errors.Join(err, detaching)
	}()
	return look("/dev/mapper/" + checkMapping)
}
