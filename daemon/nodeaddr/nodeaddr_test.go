// SPDX-License-Identifier: Apache-2.0

package nodeaddr

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
)

func TestWait(t *testing.T) {
	v4, v6 := net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")
	none := errors.New("no default routes found")
	type answer struct {
		ip  net.IP
		err error
	}
	for _, tt := range []struct {
		name    string
		cluster configschema.Cluster
		answers []answer // of the kernel, one a look
		want    string   // empty: waits on
	}{
		{"node-ip", configschema.Cluster{NodeIP: []string{"198.51.100.1", "2001:db8::1"}}, nil, "198.51.100.1"},
		{"network comes later", configschema.Cluster{}, []answer{{nil, none}, {v4, nil}}, "192.0.2.7"},
		{"router advertisement before DHCP", configschema.Cluster{}, []answer{{v6, nil}, {v6, nil}, {v4, nil}}, "192.0.2.7"},
		{"IPv6 cluster", configschema.Cluster{ServiceCIDR: []string{"fd00:43::/112"}}, []answer{{v6, nil}}, "2001:db8::7"},
		{"agent of an IPv6 server", configschema.Cluster{Server: "https://[2001:db8::1]:6443"}, []answer{{v6, nil}}, "2001:db8::7"},
		{"never", configschema.Cluster{}, []answer{{nil, none}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			oldChoose, oldAddresses := choose, addresses
			defer func() { choose, addresses = oldChoose, oldAddresses }()
			addresses = func() []net.IP { return nil }
			choose = func() (net.IP, error) {
				a := tt.answers[0]
				if len(tt.answers) > 1 {
					tt.answers = tt.answers[1:]
				}
				return a.ip, a.err
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			got, err := Wait(ctx, tt.cluster, slog.New(slog.DiscardHandler))
			if tt.want == "" {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("Wait() = %v, %v, want it to wait", got, err)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Fatalf("Wait() = %v, %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestWaitOnAnIsolatedNetwork(t *testing.T) {
	oldChoose, oldAddresses := choose, addresses
	defer func() { choose, addresses = oldChoose, oldAddresses }()
	choose = func() (net.IP, error) { return nil, errors.New("no default routes found") }
	addresses = func() []net.IP {
		return []net.IP{net.ParseIP("fe80::1"), net.ParseIP("2001:db8::7"), net.ParseIP("169.254.1.1"), net.ParseIP("192.0.2.7")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	started := time.Now()
	got, err := Wait(ctx, configschema.Cluster{}, slog.New(slog.DiscardHandler))
	if err != nil || got.String() != "192.0.2.7" {
		t.Fatalf("Wait() = %v, %v, want the one global IPv4 address", got, err)
	}
	if waited := time.Since(started); waited < routeGrace {
		t.Errorf("waited %v only: the default route may be a moment behind the address", waited)
	}
}

func TestWaitAny(t *testing.T) {
	old := addresses
	defer func() { addresses = old }()
	for name, test := range map[string]struct {
		ip     string
		warned bool
	}{
		"IPv4": {ip: "192.0.2.1"}, "IPv6": {ip: "2001:db8::1"}, "link-local only": {ip: "fe80::1", warned: true},
	} {
		t.Run(name, func(t *testing.T) {
			addresses = func() []net.IP { return []net.IP{net.ParseIP(test.ip)} }
			var log bytes.Buffer
			if err := WaitAny(t.Context(), time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
				t.Fatal(err)
			}
			if warned := log.Len() > 0; warned != test.warned {
				t.Errorf("said %q", log.String())
			}
		})
	}
}
