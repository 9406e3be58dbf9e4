// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
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
	// Dir is a folder of credentials, one a file.
	Dir string
	Log *slog.Logger
}

// systemCredentials is where systemd puts the credentials of the machine.
const systemCredentials = "/run/credentials/@system"

const credentialPrefix = "skerry."

// NewCredentials returns the credentials that systemd gave to this process, or
// to the machine.
func NewCredentials(log *slog.Logger) *Credentials {
	return &Credentials{Dir: cmp.Or(os.Getenv("CREDENTIALS_DIRECTORY"), systemCredentials), Log: log}
}

// Name returns "credentials".
func (*Credentials) Name() string { return "credentials" }

// Fetch reads the credentials.
func (c *Credentials) Fetch(context.Context) (*Document, error) {
	if !exists(c.Dir) {
		return nil, ErrAbsent
	}
	files, err := readFiles(c.Dir, map[string]string{
		credentialPrefix + userDataFile: userDataFile, credentialPrefix + metaDataFile: metaDataFile,
		credentialPrefix + networkConfigFile: networkConfigFile, credentialPrefix + vendorDataFile: vendorDataFile,
	})
	if err != nil {
		return nil, fmt.Errorf("read the credentials in %s: %w", c.Dir, err)
	}
	if files[userDataFile] == nil {
		if files[metaDataFile] != nil || files[networkConfigFile] != nil {
			c.Log.Warn("credentials are for this machine, but none is named "+credentialPrefix+userDataFile+": they are not used", "folder", c.Dir)
		}
		return nil, ErrAbsent
	}
	return newDocument("credentials", "the credentials in "+c.Dir, files)
}
