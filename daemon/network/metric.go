// SPDX-License-Identifier: Apache-2.0

package network

import configschema "github.com/skerry-os/skerry/config-schema"

// Metrics of default routes that the definition doesn't give one. The first
// interface of the file is preferred to the second, and so on; what an interface
// learns comes after what is written for it; and all come before the image's
// DHCP on interfaces that are not described, which has networkd's 1024.
const (
	firstMetric = 100
	metricStep  = 10
	// learned is added for routes from DHCP and router advertisements.
	learned = 5
)

// metrics gives each interface its own, passing over those that the definition
// gives to another.
func metrics(n *configschema.Network) map[string]int {
	taken := map[int]bool{}
	for _, i := range n.Interfaces() {
		for _, o := range []*configschema.DHCPOverrides{&i.DHCP4Overrides, &i.DHCP6Overrides} {
			if o.RouteMetric != nil {
				taken[*o.RouteMetric] = true
			}
		}
		for k := range i.Routes {
			if i.Routes[k].Metric != nil {
				taken[*i.Routes[k].Metric] = true
			}
		}
	}
	out := map[string]int{}
	next := firstMetric
	for _, i := range n.Interfaces() {
		for taken[next] || taken[next+learned] {
			next += metricStep
		}
		out[i.Name] = next
		next += metricStep
	}
	return out
}
