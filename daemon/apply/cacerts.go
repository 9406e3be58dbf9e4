// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/skerry-os/skerry/daemon/config"
)

const (
	certsDir = "/etc/ssl/certs"
	// certsBundle is what programs read; certsImage is the image's own, put aside
	// when it is changed for the first time in a boot.
	certsBundle = certsDir + "/ca-certificates.crt"
	certsImage  = "/run/skerry/ca-certificates.crt"
)

// caCerts renders the bundle of trusted certificates. The processes that trust
// it are started afterwards.
func caCerts(_ context.Context, m *Machine, loaded *config.Loaded) error {
	certs := loaded.Config.TrustedCerts()
	image, err := m.imageCerts(len(certs.Trusted) > 0)
	if err != nil || image == nil && len(certs.Trusted) == 0 {
		return err
	}
	var bundle bytes.Buffer
	if !certs.RemoveDefaults {
		bundle.Write(image)
	}
	for _, certificate := range certs.Trusted {
		bundle.Write(certificate.PEM())
	}
	if certs.RemoveDefaults {
		// Go's programs and OpenSSL's read every file of the folder, too.
		if err := m.removeCerts(); err != nil {
			return err
		}
	}
	return m.write(certsBundle, bundle.Bytes(), 0o644, byRoot)
}

// imageCerts returns the image's bundle. It is nil when the bundle was never
// changed in this boot, and is not about to be.
func (m *Machine) imageCerts(change bool) ([]byte, error) {
	aside, err := os.ReadFile(m.path(certsImage))
	if err == nil {
		return aside, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", certsImage, err)
	}
	if !change {
		return nil, nil
	}
	image, err := os.ReadFile(m.path(certsBundle))
	if err != nil {
		return nil, fmt.Errorf("read the image's certificates: %w", err)
	}
	return image, m.write(certsImage, image, 0o644, byRoot)
}

func (m *Machine) removeCerts() error {
	entries, err := os.ReadDir(m.path(certsDir))
	if err != nil {
		return fmt.Errorf("remove the image's certificates: %w", err)
	}
	for _, entry := range entries {
		name := certsDir + "/" + entry.Name()
		if name == certsBundle || entry.IsDir() {
			continue
		}
		if err := m.remove(name); err != nil {
			return err
		}
	}
	return nil
}
