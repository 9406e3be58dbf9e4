// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// resolvedUpstream lists the name servers systemd-resolved forwards to. Pods
// can't use its stub, 127.0.0.53: that address is theirs, not the machine's.
const resolvedUpstream = "/run/systemd/resolve/resolv.conf"

// noNameServer is what pods get on a machine that has no name server. CoreDNS
// does not start with an empty list, and cluster names must resolve all the
// same. The address is of the discard-only block (RFC 6666): a query to it
// fails at once where there is no IPv6, and goes nowhere else.
const noNameServer = "nameserver 100::1\n"

// resolvConf returns the file that the kubelet takes pods' name servers from:
// upstream, if it lists one that pods can reach.
func resolvConf(upstream string, p paths) (string, error) {
	data, err := os.ReadFile(upstream)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read name servers: %w", err)
	}
	if hasNameServer(data) {
		return upstream, nil
	}
	fallback := p.agent("etc", "resolv.conf")
	return fallback, atomicfile.WriteIfChanged(fallback, []byte(noNameServer), 0o644)
}

// hasNameServer reports whether data, in the form of resolv.conf(5), lists a
// name server other than this machine's own.
func hasNameServer(data []byte) bool {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		address, _, _ := strings.Cut(fields[1], "%")
		if addr, err := netip.ParseAddr(address); err == nil && !addr.IsLoopback() {
			return true
		}
	}
	return false
}
