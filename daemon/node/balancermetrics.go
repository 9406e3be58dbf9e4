// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/skerry-os/skerry/daemon/loadbalancer"
)

// balancerName is K3s' name for the load balancer of an agent, in its metrics as
// in the name of its file.
const balancerName = "k3s-agent-load-balancer"

// The metrics of the load balancer have K3s' names, labels and buckets
// (docs.k3s.io/reference/metrics).
var (
	connectionsDesc = metrics.NewDesc("k3s_loadbalancer_server_connections",
		"Connections that go to a server now.", []string{"name", "server"}, nil, metrics.ALPHA, "")
	healthDesc = metrics.NewDesc("k3s_loadbalancer_server_health",
		"State of a server: 0 INVALID, 1 FAILED, 2 STANDBY, 3 UNCHECKED, 4 RECOVERING, 5 HEALTHY, 6 PREFERRED, 7 ACTIVE.",
		[]string{"name", "server"}, nil, metrics.ALPHA, "")
)

// balancerCollector asks the balancer when it is asked.
type balancerCollector struct {
	metrics.BaseStableCollector
	status func() []loadbalancer.ServerStatus
}

func (*balancerCollector) DescribeWithStability(ch chan<- *metrics.Desc) {
	ch <- connectionsDesc
	ch <- healthDesc
}

func (c *balancerCollector) CollectWithStability(ch chan<- metrics.Metric) {
	for _, s := range c.status() {
		ch <- metrics.NewLazyConstMetric(connectionsDesc, metrics.GaugeValue, float64(s.Connections), balancerName, s.Address)
		ch <- metrics.NewLazyConstMetric(healthDesc, metrics.GaugeValue, float64(s.State), balancerName, s.Address)
	}
}

// dials are how long it took to connect to servers.
type dials struct{ *metrics.HistogramVec }

func newDials() dials {
	return dials{metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name:           "k3s_loadbalancer_dial_duration_seconds",
		Help:           "Seconds that it took to connect to a server, or to fail to.",
		Buckets:        metrics.ExponentialBuckets(0.001, 2, 15),
		StabilityLevel: metrics.ALPHA,
	}, []string{"name", "status"})}
}

func (d dials) observe(took time.Duration, err error) {
	status := "success"
	if err != nil {
		status = "error"
	}
	d.WithLabelValues(balancerName, status).Observe(took.Seconds())
}

// registerBalancer adds the load balancer to the metrics of this process, which
// the kubelet serves.
func registerBalancer(status func() []loadbalancer.ServerStatus, d dials) error {
	if err := legacyregistry.CustomRegister(&balancerCollector{status: status}); err != nil {
		return fmt.Errorf("metrics of the load balancer: %w", err)
	}
	if err := legacyregistry.Register(d.HistogramVec); err != nil {
		return fmt.Errorf("metrics of the load balancer: %w", err)
	}
	return nil
}
