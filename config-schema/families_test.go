// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strings"
	"testing"
)

func TestFamilies(t *testing.T) {
	const (
		four     = "cluster-cidr: 10.42.0.0/16, service-cidr: 10.43.0.0/16"
		both     = "cluster-cidr: '10.42.0.0/16,fd00:42::/56', service-cidr: '10.43.0.0/16,fd00:43::/112'"
		sixFirst = "cluster-cidr: 'fd00:42::/56,10.42.0.0/16', service-cidr: '10.43.0.0/16,fd00:43::/112'"
	)
	for text, want := range map[string]string{
		"":                                     "",
		four:                                   "",
		four + ", node-ip: 'fd00::1,10.0.0.1'": "",
		both + ", node-ip: '10.0.0.1,fd00::1'": "",
		both + ", disable-agent: true":         "",
		both:                                   "node-ip: the cluster is of IPv4 and IPv6, and the node's address isn't",
		both + ", node-ip: 10.0.0.1":           "node-ip: the cluster is of IPv4 and IPv6, and the node's address isn't",
		"cluster-cidr: '10.42.0.0/16,fd00:42::/56'":                       "cluster-cidr: pods and services have networks of different families",
		"service-cidr: '10.43.0.0/16,fd00:43::/112'":                      "service-cidr: pods and services have networks of different families",
		"cluster-cidr: fd00:42::/56":                                      "cluster-cidr: a cluster of IPv6 first, or only, is not supported by this release",
		sixFirst + ", node-ip: 'fd00::1,10.0.0.1'":                        "cluster-cidr[0]: a cluster of IPv6 first, or only, is not supported by this release",
		"service-cidr: [fd00:43::/112, 10.43.0.0/16]":                     "service-cidr[0]: a cluster of IPv6 first, or only, is not supported by this release",
		"server: 'https://a:6443', token: t, node-ip: '10.0.0.1,fd00::1'": "", // an agent
	} {
		_, problems := Parse("user-data", []byte("#cloud-config\nskerry: {cluster: {"+text+"}}\n"))
		switch {
		case want == "" && len(problems) > 0:
			t.Errorf("%s: %v", text, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(strings.ReplaceAll(problems[0].String(), "[0]", ""), "skerry.cluster."+strings.ReplaceAll(want, "[0]", ""))):
			t.Errorf("%s: got %v, want %s", text, problems, want)
		}
	}
}
