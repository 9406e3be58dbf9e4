// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"

	"github.com/skerry-os/skerry/daemon/loadbalancer"
)

func TestBalancerMetrics(t *testing.T) {
	servers := []loadbalancer.ServerStatus{
		{Address: "192.0.2.1:6443", State: loadbalancer.Active, Connections: 3},
		{Address: "192.0.2.2:6443", State: loadbalancer.Failed},
	}
	d := newDials()
	if err := registerBalancer(func() []loadbalancer.ServerStatus { return servers }, d); err != nil {
		t.Fatal(err)
	}
	d.observe(3*time.Millisecond, nil)
	d.observe(5*time.Second, errors.New("refused"))
	d.observe(40*time.Second, errors.New("refused"))
	const gauges = `
# HELP k3s_loadbalancer_server_connections [ALPHA] Connections that go to a server now.
# TYPE k3s_loadbalancer_server_connections gauge
k3s_loadbalancer_server_connections{name="k3s-agent-load-balancer",server="192.0.2.1:6443"} 3
k3s_loadbalancer_server_connections{name="k3s-agent-load-balancer",server="192.0.2.2:6443"} 0
# HELP k3s_loadbalancer_server_health [ALPHA] State of a server: 0 INVALID, 1 FAILED, 2 STANDBY, 3 UNCHECKED, 4 RECOVERING, 5 HEALTHY, 6 PREFERRED, 7 ACTIVE.
# TYPE k3s_loadbalancer_server_health gauge
k3s_loadbalancer_server_health{name="k3s-agent-load-balancer",server="192.0.2.1:6443"} 7
k3s_loadbalancer_server_health{name="k3s-agent-load-balancer",server="192.0.2.2:6443"} 1
`
	if err := testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(gauges),
		"k3s_loadbalancer_server_connections", "k3s_loadbalancer_server_health"); err != nil {
		t.Error(err)
	}
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, family := range families {
		if family.GetName() != "k3s_loadbalancer_dial_duration_seconds" {
			continue
		}
		for _, m := range family.Metric {
			if n := len(m.Histogram.Bucket); n != 15 {
				t.Errorf("%d buckets", n)
			}
			counts[m.Label[1].GetValue()] = m.Histogram.GetSampleCount()
		}
	}
	if counts["success"] != 1 || counts["error"] != 2 || len(counts) != 2 {
		t.Errorf("dials: %v", counts)
	}
	// A server that has left is no series any more.
	servers = nil
	if err := testutil.GatherAndCompare(legacyregistry.DefaultGatherer, strings.NewReader(""), "k3s_loadbalancer_server_health"); err != nil {
		t.Error(err)
	}
}
