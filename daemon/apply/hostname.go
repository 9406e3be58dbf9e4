// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/skerry-os/skerry/daemon/config"
)

const (
	hostnameFile = "/etc/hostname"
	hostsFile    = "/etc/hosts"
	// ownAddress is the one Debian gives a machine's own name, which must have
	// one even where there is no network.
	ownAddress = "127.0.1.1"
)

// hostname names the machine: the kernel, /etc/hostname for who asks later, and
// /etc/hosts for who resolves it.
func hostname(_ context.Context, m *Machine, loaded *config.Loaded) error {
	if err := m.write(hostnameFile, []byte(loaded.Hostname+"\n"), 0o644, byRoot); err != nil {
		return err
	}
	if !loaded.Config.ManageEtcHosts.Off() {
		hosts, err := os.ReadFile(m.path(hostsFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read %s: %w", hostsFile, err)
		}
		if err := m.write(hostsFile, renderHosts(hosts, loaded.Hostname, loaded.FQDN), 0o644, byRoot); err != nil {
			return err
		}
	}
	if err := m.System.SetHostname(loaded.Hostname); err != nil {
		return fmt.Errorf("set hostname %s: %w", loaded.Hostname, err)
	}
	return nil
}

// renderHosts replaces the line of the machine's own name, and adds localhost
// where the file doesn't have it.
func renderHosts(old []byte, hostname, fqdn string) []byte {
	var out bytes.Buffer
	localhost := false
	for line := range strings.Lines(string(old)) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == ownAddress {
			continue
		}
		localhost = localhost || len(fields) > 1 && fields[0] == "127.0.0.1"
		out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	if !localhost {
		out.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	}
	names := hostname
	if fqdn != hostname {
		names = fqdn + " " + hostname // the first is the canonical one
	}
	fmt.Fprintf(&out, "%s %s\n", ownAddress, names)
	return out.Bytes()
}
