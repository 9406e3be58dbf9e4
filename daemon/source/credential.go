// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"log/slog"
	"os"
)

// Credentials reads systemd credentials named skerry.user-data,
// skerry.meta-data, skerry.network-config and skerry.vendor-data, as a virtual
// machine monitor, a boot loader or the ESP hand them to systemd.
//
// cloud-init reads no credentials, so that there is no name of its own to
// follow here.
type Credentials struct {
	// Dirs are folders of credentials, one a file. The first with user-data
	// counts.
	Dirs []string
	Log  *slog.Logger
}

// systemCredentials is where systemd puts the credentials of the machine.
const systemCredentials = "/run/credentials/@system"

const credentialPrefix = "skerry."

// NewCredentials returns the credentials that systemd gave to this process,
// deciphered where they were encrypted, and those of the machine.
func NewCredentials(log *slog.Logger) *Credentials {
	c := &Credentials{Dirs: []string{systemCredentials}, Log: log}
	if own := os.Getenv("CREDENTIALS_DIRECTORY"); own != "" {
		c.Dirs = []string{own, systemCredentials}
	}
	return c
}

// Name returns "credentials".
func (*Credentials) Name() string { return "credentials" }

// Fetch reads the credentials.
func (c *Credentials) Fetch(context.Context) (*Document, error) {
	for _, dir := range c.Dirs {
		if !exists(dir) {
			continue
		}
		files, err := readFiles(dir, map[string]string{
			credentialPrefix + userDataFile: userDataFile, credentialPrefix + metaDataFile: metaDataFile,
			credentialPrefix + networkConfigFile: networkConfigFile, credentialPrefix + vendorDataFile: vendorDataFile,
		})
		if err != nil {
			return nil, fmt.Errorf("read the credentials in %s: %w", dir, err)
		}
		if files[userDataFile] != nil {
			return newDocument("credentials", "the credentials in "+dir, files)
		}
		if files[metaDataFile] != nil || files[networkConfigFile] != nil {
			c.Log.Warn("credentials are for this machine, but none is named "+credentialPrefix+userDataFile+": they are not used", "folder", dir)
		}
	}
	return nil, ErrAbsent
}
