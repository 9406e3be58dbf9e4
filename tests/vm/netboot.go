// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/skerry-os/skerry/tests/vm/ethernet"
)

// bootPort is where the lab's host serves what machines boot from the network.
const bootPort = 8080

// Netboot is what a machine boots from the network with.
type Netboot string

// Ways to boot from the network.
const (
	NoNetboot   Netboot = ""
	NetbootUEFI Netboot = "uefi" // the firmware's own HTTP boot
	NetbootIPXE Netboot = "ipxe" // iPXE, in the option ROM that QEMU gives a card
)

// ServeBoot answers HTTP of machines that boot from the network, and has DHCP name two paths of the server: an EFI program for
// firmware, and a script for iPXE. An empty one is not told. A lab has one such server, as long as it lives.
func (l *Lab) ServeBoot(handler http.Handler, program, script string) error {
	listener, err := l.host.Listen(bootPort)
	if err != nil {
		return fmt.Errorf("serve what is booted from the network: %w", err)
	}
	url := func(name string) string {
		if name == "" {
			return ""
		}
		return "http://" + net.JoinHostPort(ethernet.HostAddress().String(), strconv.Itoa(bootPort)) + "/" + name
	}
	l.serveOn(listener, handler)
	l.host.SetBoot(ethernet.Boot{Program: url(program), Script: url(script)})
	return nil
}
