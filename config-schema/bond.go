// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/netip"
	"slices"
)

// Bond is several interfaces that act as one.
type Bond struct {
	Interface `yaml:",inline"`
	// Interfaces that the bond is made of, each defined in this file.
	Interfaces []string `yaml:"interfaces"`
	// How the bond works.
	Parameters BondParameters `yaml:"parameters"`
}

// BondParameters are the settings of a bond, as the kernel has them.
type BondParameters struct {
	// How packets are spread over the interfaces. The default is balance-rr.
	Mode string `yaml:"mode" enum:"balance-rr,active-backup,balance-xor,broadcast,802.3ad,balance-tlb,balance-alb"`
	// How often the switch is told of the bond (802.3ad).
	LACPRate string `yaml:"lacp-rate" enum:"slow,fast"`
	// How often it is looked whether a cable is there, in milliseconds.
	MIIMonitorInterval *Milliseconds `yaml:"mii-monitor-interval"`
	// How many interfaces must have a cable for the bond to be up.
	MinLinks *int `yaml:"min-links"`
	// What of a packet chooses its interface.
	TransmitHashPolicy string `yaml:"transmit-hash-policy" enum:"layer2,layer3+4,layer2+3,encap2+3,encap3+4,vlan+srcmac"`
	// How the group of interfaces is chosen (802.3ad).
	ADSelect string `yaml:"ad-select" enum:"stable,bandwidth,count"`
	// Whether packets that come in at an inactive interface are taken.
	AllMembersActive *bool `yaml:"all-members-active"`
	// How often ARP targets are asked, in milliseconds.
	ARPInterval *Milliseconds `yaml:"arp-interval"`
	// IPv4 addresses that are asked whether the network works.
	ARPIPTargets []string `yaml:"arp-ip-targets"`
	// Which ARP answers count.
	ARPValidate string `yaml:"arp-validate" enum:"none,active,backup,all"`
	// Whether any or all of the ARP targets must answer.
	ARPAllTargets string `yaml:"arp-all-targets" enum:"any,all"`
	// How long a cable must be there before its interface is used, in
	// milliseconds.
	UpDelay *Milliseconds `yaml:"up-delay"`
	// How long a cable must be gone before its interface is left, in
	// milliseconds.
	DownDelay *Milliseconds `yaml:"down-delay"`
	// Which hardware addresses the interfaces have (active-backup).
	FailOverMACPolicy string `yaml:"fail-over-mac-policy" enum:"none,active,follow"`
	// How often the bond announces its address after a change.
	GratuitousARP *int `yaml:"gratuitous-arp"`
	// How many packets go through one interface before the next (balance-rr).
	PacketsPerMember *int `yaml:"packets-per-member"`
	// When the primary interface is used again.
	PrimaryReselectPolicy string `yaml:"primary-reselect-policy" enum:"always,better,failure"`
	// How often multicast memberships are announced after a change.
	ResendIGMP *int `yaml:"resend-igmp"`
	// How often switches are told of the bond, in seconds.
	LearnPacketInterval *Seconds `yaml:"learn-packet-interval"`
	// The interface that is used as long as it can be.
	Primary string `yaml:"primary"`
}

func (b *Bond) check(s scope) {
	s.interfaceName(s.path, b.Name)
	b.Interface.check(s)
	p, at := &b.Parameters, scope{s.d, s.at("parameters")}
	if !s.members(b.Interfaces) || p.Primary == "" || !at.sound("mode") {
		return
	}
	if !slices.Contains(b.Interfaces, p.Primary) {
		at.problem(at.at("primary"), quote(p.Primary)+" is not one of the bond's interfaces", didYouMean(p.Primary, b.Interfaces))
	}
	if !slices.Contains([]string{"active-backup", "balance-tlb", "balance-alb"}, p.Mode) {
		at.problem(at.at("primary"), "only a bond of mode active-backup, balance-tlb or balance-alb has one", "remove it, or set mode")
	}
}

func (p *BondParameters) check(s scope) {
	for i, text := range p.ARPIPTargets {
		if addr, err := netip.ParseAddr(text); err != nil || !addr.Is4() {
			s.problem(s.at("arp-ip-targets", i), quote(text)+" is not an IPv4 address", "")
		}
	}
	if p.ARPInterval != nil && *p.ARPInterval > 0 && p.MIIMonitorInterval != nil && *p.MIIMonitorInterval > 0 {
		s.problem(s.at("arp-interval"), "a bond is watched by ARP or by mii-monitor-interval, not by both", "remove one")
	}
	if p.ARPInterval != nil && *p.ARPInterval > 0 && !s.has("arp-ip-targets") {
		s.problem(s.at("arp-interval"), "there is nobody to ask", "add arp-ip-targets")
	}
	for _, n := range []struct {
		key    string
		number *int
		most   int
	}{
		{"min-links", p.MinLinks, 1024}, {"gratuitous-arp", p.GratuitousARP, 255},
		{"packets-per-member", p.PacketsPerMember, 65535}, {"resend-igmp", p.ResendIGMP, 255},
	} {
		if n.number != nil {
			s.between(n.key, *n.number, 0, n.most)
		}
	}
	if p.Mode != "802.3ad" && s.sound("mode") {
		for _, key := range []string{"lacp-rate", "ad-select"} {
			if s.has(key) {
				s.problem(s.at(key), "is for bonds of mode 802.3ad", "remove it, or set mode: 802.3ad")
			}
		}
	}
}

func (*BondParameters) unsupported(key string) (message, hint string) {
	switch key {
	case "all-slaves-active", "packets-per-slave":
		return "unknown key", "write " + map[string]string{"all-slaves-active": "all-members-active", "packets-per-slave": "packets-per-member"}[key]
	}
	return "", ""
}
