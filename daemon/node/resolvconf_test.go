// SPDX-License-Identifier: Apache-2.0

package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolvConf(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		usable        bool
	}{
		{"DHCP", "# made by resolved\nnameserver 192.0.2.1\nsearch example.org\n", true},
		{"link-local IPv6", "nameserver fe80::1%eth0\n", true},
		{"none", "# No DNS servers known.\nsearch .\n", false},
		{"stub only", "nameserver 127.0.0.53\n", false},
		{"not an address", "nameserver dns.example.org\n", false},
		{"missing file", "", false},
	} {
		dir := t.TempDir()
		upstream := filepath.Join(dir, "resolv.conf")
		if tt.content != "" {
			if err := os.WriteFile(upstream, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p := newPaths(dir)
		if err := os.MkdirAll(p.agent("etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		got, err := resolvConf(upstream, p)
		if err != nil {
			t.Fatal(err)
		}
		if (got == upstream) != tt.usable {
			t.Errorf("%s: pods get %s, want upstream = %t", tt.name, got, tt.usable)
		}
		data, err := os.ReadFile(got)
		if err != nil {
			t.Fatal(err)
		}
		if !hasNameServer(data) {
			t.Errorf("%s: pods get no name server: CoreDNS would not start", tt.name)
		}
	}
}
