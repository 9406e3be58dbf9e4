// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skerry-os/skerry/tests/metadata"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

const (
	keyA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl one"
	keyB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl two"

	cloudConfig = "#cloud-config\nhostname: a\n"
	networkV1   = "{version: 1, config: [{type: physical, name: eth0, mac_address: '96:00:00:00:00:01', subnets: [{type: dhcp}]}]}"
)

// clock is a clock that moves when somebody sleeps.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	slept  []time.Duration
	before func(sleeps int) // what happens during a sleep
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	if c.before != nil {
		c.before(len(c.slept))
	}
	return ctx.Err()
}

// atOnce lets a fetcher wait without waiting.
func atOnce(f *Fetcher) (*Fetcher, *clock) {
	c := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.Now, f.Sleep = c.read, c.sleep
	return f, c
}

// plain is the machine as most clouds know it.
var plain = metadata.Machine{
	InstanceID: "4711", Hostname: "node-1.example.internal", Keys: []string{keyA, keyB}, UserData: cloudConfig, VendorData: "#cloud-config\n{}\n",
}

func with(change func(m *metadata.Machine)) metadata.Machine {
	m := plain
	change(&m)
	return m
}

func withoutUserData(m *metadata.Machine) { m.UserData = "" }

// cloudTest is one cloud with a server of its own.
type cloudTest struct {
	name    string
	handler http.Handler
	open    func(base string, f *Fetcher) Source
	// want is compared field by field. Fields that are empty must be empty, but
	// for those that every document has.
	want Document
	err  string
}

func openEC2(base string, f *Fetcher) Source { return &EC2{Bases: []string{base}, Fetcher: f} }
func openGCE(base string, f *Fetcher) Source { return &GCE{Bases: []string{base}, Fetcher: f} }
func openOpenStack(base string, f *Fetcher) Source {
	return &OpenStack{Bases: fixed(base), Fetcher: f}
}
func openAkamai(base string, f *Fetcher) Source { return &Akamai{Bases: []string{base}, Fetcher: f} }
func openOracle(base string, f *Fetcher) Source { return &Oracle{Bases: []string{base}, Fetcher: f} }

// openSummary is for the clouds that have all in one file.
func openSummary(kind string) func(base string, f *Fetcher) Source {
	return func(base string, f *Fetcher) Source { return NewSummary(kind, fixed(base), f) }
}

var openHetzner, openDigitalOcean, openUpCloud, openVultr, openEquinix = openSummary("hetzner"), openSummary("digitalocean"),
	openSummary("upcloud"), openSummary("vultr"), openSummary("equinix")

func openAzure(base string, f *Fetcher) Source {
	return &Azure{Bases: []string{base}, Wire: base, InstanceID: "4711", Fetcher: f}
}
func openCloudStack(base string, f *Fetcher) Source {
	return &CloudStack{Kind: "cloudstack", Prefix: "/latest", Bases: fixed(base), Fetcher: f}
}
func openExoscale(base string, f *Fetcher) Source {
	return &CloudStack{Kind: "exoscale", Prefix: "/1.0", Bases: fixed(base), Fetcher: f}
}

var cloudTests = []cloudTest{
	{name: "ec2", handler: &metadata.EC2{Machine: plain}, open: openEC2},
	{name: "ec2 that demands tokens", handler: &metadata.EC2{Machine: plain, V2Only: true}, open: openEC2},
	{name: "ec2 without tokens", handler: &metadata.EC2{Machine: plain, V1Only: true}, open: openEC2},
	{name: "ec2 turned off", handler: &metadata.EC2{Machine: plain, Off: true}, open: openEC2, err: "is turned off for this instance"},
	{name: "ec2 that demands tokens and has none", handler: demanding(), open: openEC2, err: "it demands a token, but gives none"},
	{name: "ec2 that has no such machine", handler: &metadata.EC2{}, open: openEC2, err: "there is nothing there"},
	{name: "ec2 packed", handler: &metadata.EC2{Machine: with(func(m *metadata.Machine) { m.UserData = packed(cloudConfig) })}, open: openEC2},
	{name: "ec2 damaged", handler: &metadata.EC2{Machine: with(func(m *metadata.Machine) { m.UserData = "\x1f\x8bxx" })}, open: openEC2, err: "unpack user-data"},
	{name: "ec2 too large", handler: &metadata.EC2{Machine: with(func(m *metadata.Machine) { m.UserData = strings.Repeat("#", maxUserData+1) })}, open: openEC2, err: "too large"},
	{name: "gce", handler: &metadata.GCE{Machine: with(gceUsers), ProjectKeys: []string{"carol:" + keyB}}, open: openGCE},
	{name: "gce base64", handler: &metadata.GCE{Machine: with(func(m *metadata.Machine) {
		gceUsers(m)
		m.UserData = "I2Nsb3VkLWNvbmZp\nZwpob3N0bmFtZTogYQo=\n"
	}), Encoding: "base64", ProjectKeys: []string{"carol:" + keyB}}, open: openGCE},
	{name: "gce without the project's keys", handler: &metadata.GCE{Machine: with(gceUsers), ProjectKeys: []string{"carol:" + keyB}, BlockProjectKeys: true},
		open: openGCE, want: Document{PublicKeys: []string{keyA}}},
	{name: "gce impostor", handler: &metadata.GCE{Machine: plain, Impostor: true}, open: openGCE, err: "is not Google's metadata server"},
	{name: "gce odd encoding", handler: &metadata.GCE{Machine: plain, Encoding: "rot13"}, open: openGCE, err: `"rot13"`},
	{name: "azure", handler: &metadata.Azure{Machine: plain}, open: openAzure},
	{name: "azure old", handler: &metadata.Azure{Machine: plain, OldOnly: true}, open: openAzure, want: Document{UserData: []byte{}}},
	{name: "azure that moves", handler: &metadata.SlowStart{Handler: &metadata.Azure{Machine: plain}, Refuse: 4, Status: http.StatusGone}, open: openAzure},
	{name: "openstack", handler: &metadata.OpenStack{Machine: with(func(m *metadata.Machine) { m.Network = `{"links": []}` })}, open: openOpenStack,
		want: Document{NetworkConfig: []byte(`{"links": []}`), NetworkConfigKind: OpenStackNetwork}},
	{name: "openstack invalid", handler: text("/openstack/latest/meta_data.json", "{"), open: openOpenStack, err: "meta_data.json is not valid"},
	{name: "hetzner", handler: &metadata.Hetzner{Machine: with(func(m *metadata.Machine) { m.Network = networkV1 })}, open: openHetzner,
		want: Document{NetworkConfig: []byte("version: 1"), NetworkConfigKind: CloudInitNetwork}},
	{name: "digitalocean", handler: &metadata.DigitalOcean{Machine: plain}, open: openDigitalOcean},
	{name: "digitalocean with a short summary", handler: &metadata.DigitalOcean{Machine: plain, Short: true}, open: openDigitalOcean},
	{name: "upcloud", handler: &metadata.UpCloud{Machine: plain}, open: openUpCloud},
	{name: "vultr", handler: &metadata.Vultr{Machine: plain}, open: openVultr},
	{name: "vultr with a list", handler: &metadata.Vultr{Machine: plain, List: true, Short: true}, open: openVultr},
	{name: "akamai", handler: &metadata.Akamai{Machine: plain}, open: openAkamai},
	{name: "equinix", handler: &metadata.Equinix{Machine: plain}, open: openEquinix},
	{name: "equinix booted by iPXE", handler: &metadata.Equinix{Machine: with(func(m *metadata.Machine) { m.UserData = "#!ipxe\nboot\n" })},
		open: openEquinix, want: Document{UserData: []byte{}}},
	{name: "oracle", handler: &metadata.Oracle{Machine: plain}, open: openOracle},
	{name: "oracle that doesn't know it yet", handler: &metadata.SlowStart{Handler: &metadata.Oracle{Machine: plain}, Refuse: 3, Status: 404}, open: openOracle},
	{name: "cloudstack", handler: &metadata.CloudStack{Machine: plain, Prefix: "/latest"}, open: openCloudStack},
	{name: "exoscale", handler: &metadata.CloudStack{Machine: plain, Prefix: "/1.0"}, open: openExoscale},
	{name: "a page of a captive portal", handler: text("/metadata/v1.json", "<html>"), open: openDigitalOcean, err: "is not valid"},
	{name: "no instance-id", handler: text("/v1.json", "{}"), open: openVultr, err: "says no instance-id"},

	{name: "ec2 without user-data", handler: &metadata.EC2{Machine: with(withoutUserData)}, open: openEC2, want: Document{UserData: []byte{}}},
	{name: "openstack without user-data", handler: &metadata.OpenStack{Machine: with(withoutUserData)}, open: openOpenStack, want: Document{UserData: []byte{}}},
	{name: "hetzner without user-data", handler: &metadata.Hetzner{Machine: with(withoutUserData)}, open: openHetzner, want: Document{UserData: []byte{}}},
	{name: "digitalocean without user-data", handler: &metadata.DigitalOcean{Machine: with(withoutUserData)}, open: openDigitalOcean, want: Document{UserData: []byte{}}},
	{name: "vultr without user-data", handler: &metadata.Vultr{Machine: with(withoutUserData)}, open: openVultr, want: Document{UserData: []byte{}}},
	{name: "akamai without user-data", handler: &metadata.Akamai{Machine: with(withoutUserData)}, open: openAkamai, want: Document{UserData: []byte{}}},
	{name: "oracle without user-data", handler: &metadata.Oracle{Machine: with(withoutUserData)}, open: openOracle, want: Document{UserData: []byte{}}},
	{name: "azure without user-data", handler: &metadata.Azure{Machine: with(withoutUserData)}, open: openAzure, want: Document{UserData: []byte{}}},
	{name: "gce without user-data", handler: &metadata.GCE{Machine: with(func(m *metadata.Machine) { gceUsers(m); m.UserData = "" })},
		open: openGCE, want: Document{UserData: []byte{}, PublicKeys: []string{keyA}}},
}

// gceUsers gives the keys users, and adds some that don't count.
func gceUsers(m *metadata.Machine) {
	m.Keys = []string{
		"alice:" + keyA, "nonsense", `bob:ssh-rsa AAAA google-ssh {"userName":"bob@example.org","expireOn":"2020-01-01T00:00:00+0000"}`,
	}
}

// demanding is a proxy in front of EC2's service that knows no PUT.
func demanding() http.Handler {
	ec2 := &metadata.EC2{Machine: plain, V2Only: true}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			http.NotFound(w, r)
			return
		}
		ec2.ServeHTTP(w, r)
	})
}

// text is a server with one path.
func text(path, content string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(content)) })
	return mux
}

func TestClouds(t *testing.T) {
	for _, test := range cloudTests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			fetcher, _ := atOnce(NewMetadataFetcher(quiet))
			got, err := test.open(server.URL, fetcher).Fetch(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkCloudDocument(t, got, test.want)
		})
	}
}

func checkCloudDocument(t *testing.T, got *Document, want Document) {
	t.Helper()
	if want.UserData == nil {
		want.UserData = []byte(cloudConfig)
	}
	if want.PublicKeys == nil {
		want.PublicKeys = []string{keyA, keyB}
	}
	if !bytes.Equal(got.UserData, want.UserData) || len(want.UserData) == 0 && got.UserData != nil {
		t.Errorf("user-data %q, want %q", got.UserData, want.UserData)
	}
	if got.InstanceID != "4711" || got.LocalHostname != "node-1.example.internal" || !slices.Equal(got.PublicKeys, want.PublicKeys) {
		t.Errorf("instance-id %q, hostname %q, keys %q", got.InstanceID, got.LocalHostname, got.PublicKeys)
	}
	if got.NetworkConfigKind != want.NetworkConfigKind || !bytes.Contains(got.NetworkConfig, want.NetworkConfig) {
		t.Errorf("network %q (%q), want %q", got.NetworkConfig, got.NetworkConfigKind, want.NetworkConfig)
	}
	if got.Source == "" || got.Name == "" {
		t.Errorf("source %q, name %q", got.Source, got.Name)
	}
	// The copy of a document knows as much.
	state := &State{Dir: t.TempDir()}
	if got.UserData == nil {
		return
	}
	if err := state.Keep(got); err != nil {
		t.Fatal(err)
	}
	kept, err := state.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if kept.InstanceID != got.InstanceID || kept.LocalHostname != got.LocalHostname || !slices.Equal(kept.PublicKeys, got.PublicKeys) ||
		kept.NetworkConfigKind != got.NetworkConfigKind || !bytes.Equal(kept.VendorData, got.VendorData) {
		t.Errorf("kept %+v of %+v", kept, got)
	}
}

// TestCloudsStartSlowly: the machine is up before its metadata server is. The
// port is closed at first, then connections are dropped, then 503 is said.
func TestCloudsStartSlowly(t *testing.T) {
	for _, test := range cloudTests {
		if test.err != "" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			if slow, ok := test.handler.(*metadata.SlowStart); ok {
				test.handler = slow.Handler
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := listener.Addr().String()
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(&metadata.SlowStart{Handler: test.handler, Drop: 2, Refuse: 3})
			defer server.Close()
			fetcher, clock := atOnce(NewMetadataFetcher(quiet))
			clock.before = func(sleeps int) {
				if sleeps != 3 {
					return
				}
				if server.Listener, err = net.Listen("tcp", address); err != nil {
					t.Error(err)
					return
				}
				server.Start()
			}
			got, err := test.open("http://"+address, fetcher).Fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkCloudDocument(t, got, test.want)
			if n := len(clock.slept); n < 7 {
				t.Errorf("slept %d times only: %v", n, clock.slept)
			}
		})
	}
}

// TestSilentCloud: a server that never comes up is an error of a kind after the
// budget, and not for ever.
func TestSilentCloud(t *testing.T) {
	for _, test := range []cloudTest{
		{name: "ec2", open: openEC2}, {name: "gce", open: openGCE}, {name: "azure", open: openAzure}, {name: "openstack", open: openOpenStack},
		{name: "hetzner", open: openHetzner}, {name: "digitalocean", open: openDigitalOcean}, {name: "vultr", open: openVultr},
		{name: "akamai", open: openAkamai}, {name: "equinix", open: openEquinix}, {name: "oracle", open: openOracle}, {name: "exoscale", open: openExoscale},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(&metadata.SlowStart{Refuse: 1000})
			defer server.Close()
			fetcher, clock := atOnce(NewMetadataFetcher(quiet))
			began := clock.now
			_, err := test.open(server.URL, fetcher).Fetch(t.Context())
			if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "503") {
				t.Errorf("got %v", err)
			}
			if waited := clock.now.Sub(began); waited > budget || waited < budget-longestPause {
				t.Errorf("waited %s", waited)
			}
		})
	}
}

func TestReportReady(t *testing.T) {
	azure := &metadata.Azure{Machine: plain}
	server := httptest.NewServer(&metadata.SlowStart{Handler: azure, Refuse: 2, Status: http.StatusTooManyRequests})
	defer server.Close()
	fetcher, _ := atOnce(NewMetadataFetcher(quiet))
	cloud := &Azure{Wire: server.URL, Fetcher: fetcher}
	for range 2 { // it is told at each boot
		if err := cloud.ReportReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := azure.Reports(); !slices.Equal(got, []string{"Ready", "Ready"}) {
		t.Errorf("reported %q", got)
	}
	nothing := httptest.NewServer(text("/machine/", "<GoalState/>"))
	defer nothing.Close()
	cloud.Wire = nothing.URL
	if err := cloud.ReportReady(t.Context()); err == nil || !strings.Contains(err.Error(), "names no container") {
		t.Errorf("got %v", err)
	}
}
