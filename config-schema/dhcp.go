// SPDX-License-Identifier: Apache-2.0

package configschema

import "gopkg.in/yaml.v3"

// DHCPOverrides say what of a DHCP server's answer is taken.
type DHCPOverrides struct {
	// Whether the name servers are taken. The default is true.
	UseDNS *bool `yaml:"use-dns"`
	// Whether the time servers are taken. The default is true.
	UseNTP *bool `yaml:"use-ntp"`
	// Whether the host name is taken. It never is: the cloud-config says it.
	UseHostname *bool `yaml:"use-hostname"`
	// Whether the MTU is taken (DHCPv4 only).
	UseMTU *bool `yaml:"use-mtu"`
	// Whether the routes are taken. The default is true.
	UseRoutes *bool `yaml:"use-routes"`
	// Whether the search domains are taken: true, false, or route to only learn
	// which names the servers know. The default is true for DHCPv4, and false
	// for DHCPv6.
	UseDomains DomainUse `yaml:"use-domains"`
	// Metric of the routes: of two default routes the lower one is used.
	RouteMetric *int `yaml:"route-metric"`
	// Whether the server is told the machine's name. The default is true.
	SendHostname *bool `yaml:"send-hostname"`
	// Name to tell the server, instead of the machine's.
	Hostname string `yaml:"hostname"`
}

// TakesRoutes says whether the server's routes are used.
func (o *DHCPOverrides) TakesRoutes() bool { return o.UseRoutes == nil || *o.UseRoutes }

func (o *DHCPOverrides) check(s scope) {
	if o.UseHostname != nil && *o.UseHostname {
		s.problem(s.at("use-hostname"), "the host name is not DHCP's to say: a node keeps its name", "use hostname: of the cloud-config")
	}
	if o.RouteMetric != nil {
		s.unsigned("route-metric", *o.RouteMetric, 0)
	}
	if o.Hostname != "" {
		s.hostname("hostname", o.Hostname, maxHostname)
	}
}

// unsigned checks a number that the kernel keeps in 32 bits.
func (s scope) unsigned(key string, number, least int) {
	if number < least || int64(number) > 1<<32-1 {
		message := "must be between 0 and 4294967295"
		if least > 0 {
			message = "must be between 1 and 4294967295"
		}
		s.problem(s.at(key), message, "")
	}
}

// DomainUse is yes, no or route, as networkd has it; empty when it isn't said.
type DomainUse string

func (u *DomainUse) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Value == "route" {
		*u = "route"
		return
	}
	var use bool
	d.value(n, path, &use)
	if *u = "no"; use {
		*u = "yes"
	}
}

func (u DomainUse) written() any {
	if u == "route" {
		return "route"
	}
	return u == "yes"
}
