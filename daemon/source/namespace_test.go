// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/skerry-os/skerry/tests/metadata"
)

// inNamespace says whether this process has a network of its own, with nothing
// but a loopback. Where it has not, the test is run again in a process that has:
// net/http dials from whatever thread, so that a thread with a network would not
// do.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const marker = "SKERRY_TEST_NAMESPACE"
	if os.Getenv(marker) == t.Name() {
		loopback, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(loopback); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), marker+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a network namespace: %v\n%s", err, output)
	}
	if !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Fatalf("did not run in the namespace:\n%s", output)
	}
	return false
}

// serve serves at an address that it gives to a link first.
func serve(t *testing.T, link, address string, handler http.Handler) (stop func()) {
	t.Helper()
	dev, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	addr.Flags = syscall.IFA_F_NODAD // without it, an IPv6 address is of no use for a second
	if err := netlink.AddrAdd(dev, addr); err != nil && !errors.Is(err, syscall.EEXIST) {
		t.Fatalf("add %s to %s: %v", address, link, err)
	}
	host := addr.IP.String()
	if addr.IP.IsLinkLocalUnicast() && addr.IP.To4() == nil {
		host += "%" + link
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "80"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with the listener
	return func() { _ = server.Close() }
}

func fetchAs(t *testing.T, name string) *Document {
	t.Helper()
	s := openPlatform(quiet, DMI{}, name)
	got, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestEC2AtItsAddresses: the source as it is made for a machine, at the
// addresses of the service.
func TestEC2AtItsAddresses(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ec2 := &metadata.EC2{Machine: plain, V2Only: true}
	// IPv6 only: nothing routes to the IPv4 address here.
	stop := serve(t, "lo", "fd00:ec2::254/128", ec2)
	got := fetchAs(t, "ec2")
	if got.Name != "the metadata server http://[fd00:ec2::254]" {
		t.Errorf("asked %s", got.Name)
	}
	checkCloudDocument(t, got, Document{})
	stop()
	// IPv4 is asked first, and the server comes up slowly.
	defer serve(t, "lo", "169.254.169.254/32", &metadata.SlowStart{Handler: ec2, Drop: 1, Refuse: 1})()
	got = fetchAs(t, "ec2")
	if got.Name != "the metadata server http://169.254.169.254" {
		t.Errorf("asked %s", got.Name)
	}
	checkCloudDocument(t, got, Document{})
}

// TestScalewayFromRootPorts: user-data is for root's ports only, and the ports
// last for more requests than one fetch has.
func TestScalewayFromRootPorts(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	machine := with(func(m *metadata.Machine) { m.Keys = []string{keyA} })
	scaleway := &metadata.Scaleway{Machine: machine, Tags: []string{"web", "AUTHORIZED_KEY=" + strings.ReplaceAll(keyB, " ", "_")}}
	defer serve(t, "lo", "169.254.42.42/32", scaleway)()
	// A service listens on the first port.
	taken, err := net.Listen("tcp4", "0.0.0.0:1023")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for range 5 {
		checkCloudDocument(t, fetchAs(t, "scaleway"), Document{})
	}
	plainFetcher, _ := atOnce(NewMetadataFetcher(quiet))
	_, err = (&Scaleway{Bases: scalewayBases, Fetcher: plainFetcher}).Fetch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("from another port: %v", err)
	}
}

// TestScalewayIPv6 is the same on the other family.
func TestScalewayIPv6(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	defer serve(t, "lo", "fd00:42::42/128", &metadata.Scaleway{Machine: plain})()
	checkCloudDocument(t, fetchAs(t, "scaleway"), Document{})
}

// TestLinkLocalMetadata: clouds with an address on the link are found through
// the interface, whatever its name.
func TestLinkLocalMetadata(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "enp1s0"}, PeerName: "cloud"}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cloud", "enp1s0"} {
		dev, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(dev); err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/openstack/", &metadata.OpenStack{Machine: plain})
	mux.Handle("/hetzner/", &metadata.Hetzner{Machine: plain})
	defer serve(t, "cloud", linkLocalMetadata+"/64", mux)()
	for _, name := range []string{"openstack", "hetzner"} {
		got := fetchAs(t, name)
		// Both ends of the cable are here, and the server is reached from either.
		if !strings.Contains(got.Name, "[fe80::a9fe:a9fe%25enp1s0]") && !strings.Contains(got.Name, "[fe80::a9fe:a9fe%25cloud]") {
			t.Errorf("asked %s", got.Name)
		}
		checkCloudDocument(t, got, Document{})
	}
}
