// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/tests/metadata"
)

// onCard is a connection over a card.
func onCard(local net.Addr) (ownSide, error) {
	return ownSide{address: netip.MustParseAddrPort(local.String()).Addr(), mac: "f2:3c:93:98:0e:4c"}, nil
}

// cloudWith returns a cloud of a name, such as ec2 or ec2-single, whose network is
// what a file says.
func cloudWith(t *testing.T, name string, network []byte) (http.Handler, func(base string, f *Fetcher) Source) {
	t.Helper()
	m := with(func(m *metadata.Machine) { m.Network = string(network) })
	kind, _, _ := strings.Cut(name, "-")
	switch kind {
	case "ec2":
		e := &metadata.EC2{Machine: plain}
		if err := json.Unmarshal(network, &e.Cards); err != nil {
			t.Fatal(err)
		}
		return e, openEC2
	case "gce":
		return &metadata.GCE{Machine: m}, openGCE
	case "azure":
		return &metadata.Azure{Machine: m}, openAzure
	case "oracle":
		return &metadata.Oracle{Machine: m}, openOracle
	case "akamai":
		return &metadata.Akamai{Machine: m}, openAkamai
	case "digitalocean":
		return &metadata.DigitalOcean{Machine: m}, openDigitalOcean
	case "upcloud":
		return &metadata.UpCloud{Machine: m}, openUpCloud
	case "vultr":
		return &metadata.Vultr{Machine: m}, openVultr
	case "equinix":
		return &metadata.Equinix{Machine: m}, openEquinix
	case "scaleway":
		s := &metadata.Scaleway{Machine: m}
		return fromPort(700, s), func(base string, f *Fetcher) Source { return &Scaleway{Bases: []string{base}, Fetcher: f} }
	}
	t.Fatalf("no cloud is called %s", kind)
	return nil, nil
}

// fromPort makes requests come from a port, which only root can bind.
func fromPort(port int, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = fmt.Sprintf("127.0.0.1:%d", port)
		handler.ServeHTTP(w, r)
	})
}

// TestNetworksOfClouds compares what is made of each cloud's own description, as
// its server gives it, with golden files. An empty one says that there is no
// definition. Whatever is made is valid, and has one way out for each family.
func TestNetworksOfClouds(t *testing.T) {
	names, err := filepath.Glob("testdata/networks/*.json")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, path := range names {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		t.Run(name, func(t *testing.T) {
			network, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			handler, open := cloudWith(t, name, network)
			server := httptest.NewServer(handler)
			defer server.Close()
			var console bytes.Buffer
			fetcher, _ := atOnce(NewMetadataFetcher(slog.New(slog.NewTextHandler(&console, nil))))
			fetcher.Own = onCard
			got, err := open(server.URL, fetcher).Fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.NetworkConfig, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.NetworkConfig, want) {
				t.Errorf("the network differs from %s (-update rewrites it)\ngot:\n%s\nwant:\n%s", golden, got.NetworkConfig, want)
			}
			if warned := strings.Contains(console.String(), "is not used"); warned != strings.HasSuffix(name, "-wrong") {
				t.Errorf("the console says:\n%s", console.String())
			}
			checkNetwork(t, got)
		})
	}
}

func checkNetwork(t *testing.T, document *Document) {
	t.Helper()
	if document.NetworkConfig == nil {
		return
	}
	parsed, problems := configschema.ParseNetworkConfig("network-config", document.NetworkConfig)
	if len(problems) > 0 || document.NetworkConfigKind != CloudInitNetwork {
		t.Fatalf("%s: %v", document.NetworkConfigKind, problems)
	}
	routers := map[bool]int{}
	for _, i := range parsed.Interfaces() {
		for _, r := range i.AllRoutes() {
			if r.Default() {
				routers[r.IPv6()]++
			}
		}
	}
	if routers[false] > 1 || routers[true] > 1 {
		t.Errorf("%d default routes for IPv4, %d for IPv6", routers[false], routers[true])
	}
}

// TestOwnSide: the loopback interface is no card.
func TestOwnSide(t *testing.T) {
	server := httptest.NewServer(text("/", "x"))
	defer server.Close()
	fetcher, _ := atOnce(NewMetadataFetcher(quiet))
	talk := fetcher.converse("test", fixed(server.URL))
	if _, err := talk.ownSide(); err == nil {
		t.Error("there is an end of a connection before there is one")
	}
	if _, err := talk.get(t.Context(), "/", 10, nil); err != nil {
		t.Fatal(err)
	}
	if own, err := talk.ownSide(); err == nil {
		t.Errorf("got %+v", own)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || len(i.HardwareAddr) == 0 {
			continue
		}
		for _, a := range addrs {
			prefix := netip.MustParsePrefix(a.String())
			if prefix.Addr().Is6() {
				continue
			}
			own, err := findOwnSide(&net.TCPAddr{IP: prefix.Addr().AsSlice(), Port: 1})
			if err != nil || own.mac != i.HardwareAddr.String() || own.address != prefix.Addr() {
				t.Errorf("%s on %s: got %+v, %v", prefix, i.Name, own, err)
			}
		}
	}
}

func TestPlanAddresses(t *testing.T) {
	for _, test := range []struct{ address, network, want, err string }{
		{address: "192.0.2.1", network: "255.255.255.0", want: "192.0.2.1/24"},
		{address: "192.0.2.1", network: "24", want: "192.0.2.1/24"},
		{address: "192.0.2.1", network: "192.0.2.0/24", want: "192.0.2.1/24"},
		{address: "192.0.2.1", want: "192.0.2.1/32"},
		{address: "2001:db8::1", want: "2001:db8::1/128"},
		{address: "2001:db8::1", network: "2001:db8::/64", want: "2001:db8::1/64"},
		{address: "192.0.2.1", network: "255.0.255.0", err: `"255.0.255.0" is not the network of 192.0.2.1`},
		{address: "192.0.2.1", network: "33", err: `"33" is not`},
		{address: "192.0.2.1", network: "0", err: `"0" is not`},
		{address: "2001:db8::1", network: "255.255.255.0", err: "is not the network"},
		{address: "somewhere", err: `"somewhere" is not an IP address`},
	} {
		i := &planInterface{}
		err := i.address(test.address, test.network)
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%s in %s: got %v, want %q", test.address, test.network, err, test.err)
		case test.err == "" && (err != nil || i.Addresses[0] != test.want):
			t.Errorf("%s in %s: got %v, %v, want %s", test.address, test.network, i.Addresses, err, test.want)
		}
	}
}

// descriptions are those of all clouds, by the beginning of the names of their
// files.
var descriptions = map[string]func() description{
	"akamai":       func() description { return &akamaiNetwork{own: connected} },
	"azure":        func() description { return &azureNetwork{} },
	"digitalocean": func() description { return &dropletNetwork{} },
	"ec2":          func() description { return &ec2Network{} },
	"equinix":      func() description { return &equinixNetwork{} },
	"gce":          func() description { return &gceCards{} },
	"oracle":       func() description { return &oracleVNICs{} },
	"scaleway":     func() description { return &scalewayNetwork{own: connected} },
	"upcloud":      func() description { return &upcloudNetwork{} },
	"vultr":        func() description { return &vultrCards{} },
}

func connected() (ownSide, error) { return onCard(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}) }

// FuzzDescriptions: whatever a cloud says, there is a valid definition or none.
func FuzzDescriptions(f *testing.F) {
	names, err := filepath.Glob("testdata/networks/*.json")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		kind, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(name), ".json"), "-")
		if kind == "digitalocean" {
			data = []byte(`{"interfaces": ` + string(data) + `}`)
		}
		f.Add(kind, data)
	}
	f.Add("gce", []byte(`[{"mac": "42:01:0a:80:00:0a", "mtu": -1}, {"mac": "42:01:0a:80:00:0b"}]`))
	f.Add("vultr", []byte(`[{"mac": "ff:ff:ff:ff:ff:ff"}, {"mac": "42:01:0a:80:00:0b", "ipv4": {"address": "0.0.0.0", "netmask": "255.0.0.0"}}]`))
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		open := descriptions[kind]
		if open == nil {
			return
		}
		a := &answer{}
		a.describe(quiet, data, open())
		if a.network != nil {
			checkNetwork(t, &Document{NetworkConfig: a.network, NetworkConfigKind: a.networkKind})
		}
	})
}
