// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const networkd = "/usr/lib/systemd/systemd-networkd"

// script runs networkd in a network and a /run of its own, with the files of the
// folder $1 and the cards named in $2, until the condition $3 holds. /sys is
// read-only there, which has networkd not wait for udev.
const script = `
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/network /run/systemd/netif
chown systemd-network /run/systemd/netif
cp "$1"/* /run/systemd/network/
chgrp systemd-network /run/systemd/network/*
chmod 0640 /run/systemd/network/*
mount -t sysfs -o ro none /sys
ip link set lo up
for card in $2; do
	ip link add "$card" type veth peer name "p$card"
	ip link set "p$card" up
done
SYSTEMD_LOG_LEVEL=debug ` + networkd + ` >/run/log 2>&1 &
networkd=$!
tries=0
until eval "$3"; do
	tries=$((tries + 1))
	if [ $tries -gt 200 ] || ! kill -0 $networkd; then
		echo "never true: $3"
		ip address; ip route show table all; ip -6 route show table all
		break
	fi
	sleep 0.1
done
kill $networkd || true
cat /run/log
`

// TestNetworkdTakesThem lets the systemd-networkd of this machine, which may be
// an older one than the image's, read the files of every case, and has it set up
// those that need no more than the kernel surely has.
func TestNetworkdTakesThem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network of its own for systemd-networkd")
	}
	if _, err := os.Stat(networkd); err != nil {
		t.Skipf("no systemd-networkd on this machine: %v", err)
	}
	// The last line of the log before networkd looks at interfaces.
	const read = "grep -q 'Enumeration completed' /run/log"
	conditions := map[string]string{
		"two-nics": "ip route | grep -q 'default via 192.0.2.1 dev enp1s0 .*metric 100' && ip route | grep -q 'default via 198.51.100.1 dev enp2s0 .*metric 110'" +
			" && ip route | grep -q '10.0.0.0/8 via 198.51.100.2 dev enp2s0 .*metric 20 mtu 1400' && ip route | grep -q 'blackhole 203.0.113.0/24'" +
			" && ip link show enp2s0 | grep -q 'mtu 9000'",
		"bridge": "ip link show enp1s0 | grep -q 'master br0' && ip link show enp2s0 | grep -q 'master br0' && ip address show inner | grep -q 198.51.100.1/24",
		"ipv6": "ip -6 route | grep -q 'default via 2001:db8::1 dev enp1s0 .*metric 100' && ip -6 route | grep -q 'default via fe80::1 dev enp3s0 .*metric 120'" +
			" && ip -6 route | grep -q '2001:db8:4::/48 via 2001:db8:3::1 dev enp3s0'",
	}
	for _, input := range cases(t) {
		name := filepath.Base(filepath.Dir(input))
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range Render(parse(t, input)) {
				if err := os.WriteFile(filepath.Join(dir, file.Name), file.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			condition, cards := read, ""
			if wanted := conditions[name]; wanted != "" {
				condition, cards = wanted, "enp1s0 enp2s0 enp3s0"
			}
			output, err := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "sh", "-c", script, "sh", dir, cards, condition).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			for line := range strings.Lines(string(output)) {
				complaint := strings.HasPrefix(line, Dir+"/"+Prefix) || // file:line: what is wrong
					strings.Contains(line, Prefix) && strings.Contains(strings.ToLower(line), "ignoring")
				if complaint || strings.HasPrefix(line, "never true") {
					t.Error(strings.TrimSpace(line))
				}
			}
			if t.Failed() || !strings.Contains(string(output), "Enumeration completed") {
				t.Errorf("networkd said:\n%s", output)
			}
		})
	}
}

// TestNetworkdComplains makes sure that the test above would notice.
func TestNetworkdComplains(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network of its own for systemd-networkd")
	}
	if _, err := os.Stat(networkd); err != nil {
		t.Skipf("no systemd-networkd on this machine: %v", err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("%s\n[Match]\nName=enp1s0\n\n[Network]\nAddresses=192.0.2.1/24\n", header)
	if err := os.WriteFile(filepath.Join(dir, Prefix+"enp1s0.network"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "sh", "-c", script, "sh", dir, "", "grep -q 'Enumeration completed' /run/log").CombinedOutput()
	if err != nil || !strings.Contains(string(output), Dir+"/"+Prefix+"enp1s0.network:7: Unknown key") {
		t.Errorf("%v\n%s", err, output)
	}
}
