// SPDX-License-Identifier: Apache-2.0

package nodeaddr

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
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
			got, err := Wait(ctx, tt.cluster, nil, slog.New(slog.DiscardHandler))
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

// TestWaitForTheRoute has an address at once, and a default route later or
// never.
func TestWaitForTheRoute(t *testing.T) {
	defer func(c func() (net.IP, error), a func() []net.IP, d func() []card) { choose, addresses, cards = c, a, d }(choose, addresses, cards)
	near, uplink := net.ParseIP("192.0.2.7"), net.ParseIP("198.51.100.7")
	addresses = func() []net.IP {
		return []net.IP{net.ParseIP("fe80::1"), net.ParseIP("2001:db8::7"), net.ParseIP("169.254.1.1"), near}
	}
	has, waits, pulled := card{name: "near", link: true, addresses: []net.IP{near}}, card{name: "uplink", link: true}, card{name: "uplink"}
	routed := &configschema.Network{Ethernets: []configschema.Ethernet{
		{Interface: configschema.Interface{Name: "near", Addresses: []string{"192.0.2.7/24"}}},
		{Interface: configschema.Interface{Name: "uplink", Addresses: []string{"198.51.100.7/24"}, Gateway4: "198.51.100.1"}},
	}}
	isolated := &configschema.Network{Ethernets: routed.Ethernets[:1]}
	for _, tt := range []struct {
		name    string
		network *configschema.Network
		cards   []card
		route   time.Duration // when it comes; 0 for never
		want    net.IP        // nil: waits on
		after   time.Duration
		says    string
	}{
		{name: "isolated", cards: []card{has}, want: near, after: routeGrace, says: "this network has no default route; taking the first address"},
		{name: "isolated by definition", network: isolated, cards: []card{has}, want: near, after: routeGrace, says: "taking the first address"},
		{name: "the other card has no cable", cards: []card{has, pulled}, want: near, after: routeGrace, says: "taking the first address"},
		{name: "the other card is in a bond", cards: []card{has, {name: "uplink", link: true, part: true}}, want: near, after: routeGrace,
			says: "taking the first address"},
		{name: "the other card has no answer", cards: []card{has, waits}, want: near, after: cardGrace, says: "taking the first address"},
		{name: "the other card has a slow answer", cards: []card{has, waits}, route: 40 * time.Second, want: uplink, after: 40 * time.Second,
			says: "there is no IPv4 default route yet (uplink has a link and no address). Kubernetes waits for it"},
		{name: "defined, and late", network: routed, cards: []card{has, pulled}, route: time.Hour, want: uplink, after: time.Hour,
			says: "there is no IPv4 default route yet, and the network definition has one by uplink (uplink has no link)"},
		{name: "defined, and never", network: routed, cards: []card{has, pulled}, says: "check cables and the DHCP server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started := time.Now()
				choose = func() (net.IP, error) {
					if tt.route > 0 && time.Since(started) >= tt.route {
						return uplink, nil
					}
					return nil, errors.New("no default routes found")
				}
				cards = func() []card { return tt.cards }
				var log bytes.Buffer
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				got, err := Wait(ctx, configschema.Cluster{}, tt.network, slog.New(slog.NewTextHandler(&log, nil)))
				if tt.want == nil {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Wait() = %v, %v, want it to wait", got, err)
					}
				} else if err != nil || !got.Equal(tt.want) {
					t.Errorf("Wait() = %v, %v, want %v", got, err, tt.want)
				} else if took := time.Since(started); took < tt.after || took > tt.after+time.Second {
					t.Errorf("waited %v, want %v", took, tt.after)
				}
				if !strings.Contains(log.String(), tt.says) {
					t.Errorf("said %q, want %q", log.String(), tt.says)
				}
			})
		})
	}
}

func TestMissing(t *testing.T) {
	defer func(old func() []card) { cards = old }(cards)
	const todo = ". Kubernetes waits for it: check cables and the DHCP server, or write addresses and routes into skerry.network"
	for want, list := range map[string][]card{
		"no network card has an IPv4 address yet (there is no card)":                                     nil,
		"no network card has an IPv4 address yet (enp1s0 has a link and no address, enp2s0 has no link)": {{name: "enp1s0", link: true}, {name: "enp2s0"}},
		"no network card has an IPv4 address yet (enp1s0 has a link and no address)": {
			{name: "enp1s0", link: true, addresses: []net.IP{net.ParseIP("fe80::1")}}, {name: "enp2s0", link: true, part: true}},
	} {
		cards = func() []card { return list }
		if got := missing(false, false, nil); got != want+todo {
			t.Errorf("got %q, want %q", got, want+todo)
		}
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
