// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestBoot(t *testing.T) {
	const program, script = "http://192.168.127.1/a.efi", "http://192.168.127.1/a.ipxe"
	firmware := dhcpv4.WithOption(dhcpv4.OptClassIdentifier("HTTPClient:Arch:00016:UNDI:003001"))
	ipxe := dhcpv4.WithOption(dhcpv4.OptUserClass("iPXE"))
	for _, c := range []struct {
		name        string
		boot        *Boot
		who         []dhcpv4.Modifier
		file, class string
	}{
		{"firmware", &Boot{program, script}, []dhcpv4.Modifier{firmware}, program, "HTTPClient"},
		{"firmware, and there is only a script", &Boot{Script: script}, []dhcpv4.Modifier{firmware}, "", ""},
		{"iPXE", &Boot{program, script}, []dhcpv4.Modifier{ipxe}, script, ""},
		{"a system that runs", &Boot{program, script}, nil, "", ""},
		{"firmware, and there is nothing", nil, []dhcpv4.Modifier{firmware}, "", ""},
	} {
		h := new(Host)
		if c.boot != nil {
			h.SetBoot(*c.boot)
		}
		discover, err := dhcpv4.NewDiscovery(MAC(5), c.who...)
		if err != nil {
			t.Fatal(err)
		}
		offer, err := h.answerDHCP(discover)
		if err != nil {
			t.Fatal(err)
		}
		if file, class := offer.BootFileNameOption(), offer.ClassIdentifier(); file != c.file || class != c.class {
			t.Errorf("%s: got %q of class %q, want %q of %q", c.name, file, class, c.file, c.class)
		}
	}
}
