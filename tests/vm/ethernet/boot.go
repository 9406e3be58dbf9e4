// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Boot is what DHCP names to machines that boot from the network, as URLs. Where one is empty, its clients are told nothing.
type Boot struct {
	// Program is for UEFI HTTP boot: an EFI program.
	Program string
	// Script is for iPXE.
	Script string
}

// What clients say they are: firmware in the vendor class (UEFI specification, HTTP boot), iPXE in the user class.
const (
	httpClient = "HTTPClient"
	ipxeClient = "iPXE"
)

// SetBoot has DHCP name what to boot.
func (h *Host) SetBoot(b Boot) { h.boot.Store(&b) }

// bootOptions are what an answer has for a client that wants to boot.
func (h *Host) bootOptions(request *dhcpv4.DHCPv4) []dhcpv4.Modifier {
	b := h.boot.Load()
	if b == nil {
		return nil
	}
	switch {
	case b.Script != "" && slices.Contains(request.UserClass(), ipxeClient):
		return []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptBootFileName(b.Script))}
	case b.Program != "" && strings.HasPrefix(request.ClassIdentifier(), httpClient):
		// The firmware takes a URL only of a server that says it is one for HTTP boot.
		return []dhcpv4.Modifier{
			dhcpv4.WithOption(dhcpv4.OptClassIdentifier(httpClient)),
			dhcpv4.WithOption(dhcpv4.OptBootFileName(b.Program)),
		}
	}
	return nil
}
