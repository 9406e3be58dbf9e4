// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
)

// A plugin that is linked but not listed is refused in a Corefile, and one
// that is listed but not linked is ignored.
func TestDirectivesAreTheLinkedPlugins(t *testing.T) {
	linked := caddy.ListPlugins()["others"]
	for _, directive := range directives {
		if !slices.Contains(linked, "dns."+directive) {
			t.Errorf("%s is a directive, but no such plugin is linked", directive)
		}
	}
	for _, plugin := range linked {
		if name, found := strings.CutPrefix(plugin, "dns."); found && !slices.Contains(directives, name) {
			t.Errorf("plugin %s is linked, but is no directive", name)
		}
	}
}

// The order of plugins decides what a Corefile does; ours must be that of the
// stock program.
func TestOrderIsUpstreams(t *testing.T) {
	last := -1
	for _, directive := range directives {
		at := slices.Index(dnsserver.Directives, directive)
		if at <= last {
			t.Errorf("%s is at place %d of CoreDNS's order, after place %d", directive, at, last)
		}
		last = at
	}
}
