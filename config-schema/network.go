// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxHostname is the kernel's limit.
const maxHostname = 64

// CheckHostname says what is wrong with a hostname that comes from somewhere
// else than a cloud-config, and nothing when it is right.
func CheckHostname(name string) string {
	message, hint := hostnameProblem(name, maxHostname)
	if hint != "" {
		message += " (" + hint + ")"
	}
	return message
}

func (s scope) hostname(key, name string, longest int) {
	if message, hint := hostnameProblem(name, longest); message != "" {
		s.problem(s.at(key), message, hint)
	}
}

// hostnameProblem checks an RFC 1123 name. Lower case is demanded because the
// node's name is made of it, and Kubernetes knows no other.
func hostnameProblem(name string, longest int) (message, hint string) {
	valid := validHostname(name, longest)
	lower := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	switch {
	case !valid && validHostname(lower, longest):
		return quote(name) + " is not a host name", "lower-case letters, digits and hyphens: " + clip(lower)
	case !valid:
		return quote(name) + " is not a host name", "lower-case letters, digits and hyphens, at most 63 between two dots"
	case name == "localhost" || strings.HasPrefix(name, "localhost."):
		return "localhost is the name of every machine", "choose one of its own"
	}
	return "", ""
}

func validHostname(name string, longest int) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return len(name) <= longest
}

func (s scope) serverURL(key, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		hint := "such as https://server-1:6443"
		if !strings.Contains(text, "://") {
			hint = "write https://" + clip(text)
		}
		s.problem(s.at(key), "is not a URL", hint)
	case u.Scheme != "https":
		s.problem(s.at(key), "the server speaks https only", "begin it with https://")
	case u.User != nil:
		s.problem(s.at(key), "a URL must not hold a password", "use token")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		s.problem(s.at(key), "must end after host and port", "write https://"+clip(u.Host))
	case !validPort(u.Port()):
		s.problem(s.at(key), "the port must be between 1 and 65535", "")
	}
}

func validPort(text string) bool {
	if text == "" {
		return true
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

func (s scope) address(key, text string) {
	if _, err := netip.ParseAddr(text); err != nil {
		s.problem(s.at(key), quote(text)+" is not an IP address", "")
	}
}

// addresses checks a list of at most one address a family, as K3s has it.
func (s scope) addresses(key string, list CommaList) {
	var families [2]bool
	for i, text := range list {
		at := s.item(key, i)
		addr, err := netip.ParseAddr(text)
		if err != nil {
			s.problem(at, quote(text)+" is not an IP address", "")
			continue
		}
		if family := familyOf(addr); families[family] {
			s.problem(at, "names two addresses of one family", "at most one IPv4 and one IPv6 address")
		} else {
			families[family] = true
		}
	}
}

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return 0
	}
	return 1
}

func (s scope) nameOrAddress(at, text string) {
	if _, err := netip.ParseAddr(text); err == nil {
		return
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(strings.ToLower(text), "*."), ".") {
		if !hostLabel.MatchString(label) {
			s.problem(at, quote(text)+" is neither a host name nor an IP address", "no scheme, no port")
			return
		}
	}
}

func (s scope) portRange(key, text string) {
	from, to, ok := strings.Cut(text, "-")
	low, err1 := strconv.ParseUint(from, 10, 16)
	high, err2 := strconv.ParseUint(to, 10, 16)
	if !ok || err1 != nil || err2 != nil || low == 0 || low > high {
		s.problem(s.at(key), quote(text)+" is not a range of ports", "such as 30000-32767")
	}
}

// prefixes parses a list of at most one network a family.
func (s scope) prefixes(key string, list CommaList) []netip.Prefix {
	var families [2]bool
	nets := make([]netip.Prefix, 0, len(list))
	for i, text := range list {
		at := s.item(key, i)
		net, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			s.problem(at, quote(text)+" is not a network", "such as 10.42.0.0/16")
		case net != net.Masked():
			s.problem(at, quote(text)+" is an address in a network", "write "+net.Masked().String())
		case families[familyOf(net.Addr())]:
			s.problem(at, "names two networks of one family", "at most one IPv4 and one IPv6 network")
		default:
			families[familyOf(net.Addr())] = true
			nets = append(nets, net)
		}
	}
	return nets
}

func (c *Cluster) checkNetworks(s scope) {
	pods := s.prefixes("cluster-cidr", c.ClusterCIDR)
	services := s.prefixes("service-cidr", c.ServiceCIDR)
	if !s.has("cluster-cidr") {
		pods = []netip.Prefix{netip.MustParsePrefix(defaultClusterCIDR)}
	}
	if !s.has("service-cidr") {
		services = []netip.Prefix{netip.MustParsePrefix(defaultServiceCIDR)}
	}
	c.checkFamilies(s, pods, services)
	for i, service := range services {
		if service.Addr().BitLen()-service.Bits() < 4 {
			s.problem(s.item("service-cidr", i), "is too small", "16 addresses at least")
		}
		for _, pod := range pods {
			if !pod.Overlaps(service) {
				continue
			}
			key := "service-cidr"
			if !s.has(key) {
				key = "cluster-cidr"
			}
			s.problem(s.at(key), "the network of the pods and that of the services overlap", "choose two that are apart")
		}
	}
	for i, text := range c.ClusterDNS {
		s.dnsAddress(s.item("cluster-dns", i), text, services)
	}
	if c.ClusterDomain != "" {
		s.hostname("cluster-domain", c.ClusterDomain, 253)
	}
}

func (s scope) dnsAddress(at, text string, services []netip.Prefix) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		s.problem(at, quote(text)+" is not an IP address", "")
		return
	}
	for _, net := range services {
		if net.Contains(addr) {
			return
		}
	}
	if s.sound("service-cidr") {
		s.problem(at, quote(text)+" is outside the network of the services", "leave it out to get the tenth address there")
	}
}
