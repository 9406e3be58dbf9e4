// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// netdev begins the file that makes an interface: systemd.netdev(5).
func netdev(i *configschema.Interface, kind string) *section {
	s := &section{name: "NetDev"}
	s.text("Name", i.Name)
	s.text("Kind", kind)
	s.givenNumber("MTUBytes", i.MTU)
	s.given("MACAddress", strings.ToLower(i.MACAddress))
	return s
}

func named(name string) *section {
	return &section{name: "Match", settings: []setting{{"Name", name}}}
}

func (p *plan) bond(b *configschema.Bond) {
	s, o := &section{name: "Bond"}, &b.Parameters
	s.given("Mode", o.Mode)
	s.given("TransmitHashPolicy", o.TransmitHashPolicy)
	s.given("LACPTransmitRate", o.LACPRate)
	givenSpan(s, "MIIMonitorSec", o.MIIMonitorInterval)
	givenSpan(s, "UpDelaySec", o.UpDelay)
	givenSpan(s, "DownDelaySec", o.DownDelay)
	givenSpan(s, "LearnPacketIntervalSec", o.LearnPacketInterval)
	s.given("AdSelect", o.ADSelect)
	s.given("FailOverMACPolicy", o.FailOverMACPolicy)
	s.given("ARPValidate", o.ARPValidate)
	givenSpan(s, "ARPIntervalSec", o.ARPInterval)
	s.given("ARPIPTargets", strings.Join(o.ARPIPTargets, " "))
	s.given("ARPAllTargets", o.ARPAllTargets)
	s.given("PrimaryReselectPolicy", o.PrimaryReselectPolicy)
	s.givenNumber("ResendIGMP", o.ResendIGMP)
	s.givenNumber("PacketsPerSlave", o.PacketsPerMember)
	s.givenNumber("GratuitousARP", o.GratuitousARP)
	s.givenTruth("AllSlavesActive", o.AllMembersActive)
	s.givenNumber("MinLinks", o.MinLinks)
	p.add(b.Name, ".netdev", netdev(&b.Interface, "bond"), s)
	p.configure(&b.Interface, named(b.Name))
}

func (p *plan) bridge(b *configschema.Bridge) {
	s, o := &section{name: "Bridge"}, &b.Parameters
	givenSpan(s, "HelloTimeSec", o.HelloTime)
	givenSpan(s, "MaxAgeSec", o.MaxAge)
	givenSpan(s, "ForwardDelaySec", o.ForwardDelay)
	givenSpan(s, "AgeingTimeSec", o.AgeingTime)
	s.givenNumber("Priority", o.Priority)
	s.givenTruth("STP", o.STP)
	p.add(b.Name, ".netdev", netdev(&b.Interface, "bridge"), s)
	p.configure(&b.Interface, named(b.Name))
}

func (p *plan) vlan(v *configschema.VLAN) {
	s := &section{name: "VLAN"}
	s.number("Id", *v.ID)
	p.add(v.Name, ".netdev", netdev(&v.Interface, "vlan"), s)
	p.configure(&v.Interface, named(v.Name))
}

func (p *plan) vrf(v *configschema.VRF) {
	s := &section{name: "VRF"}
	s.number("Table", *v.Table)
	p.add(v.Name, ".netdev", netdev(&v.Interface, "vrf"), s)
	p.configure(&v.Interface, named(v.Name))
}

// tunnel makes a WireGuard interface. Its keys are in files of their own, for
// everybody may read a .netdev file, and networkd shows what is in it.
func (p *plan) tunnel(t *configschema.Tunnel) {
	s := &section{name: "WireGuard"}
	s.text("PrivateKeyFile", p.secret(t.Name+".key", t.Key.Private))
	s.givenNumber("ListenPort", t.Port)
	s.givenNumber("FirewallMark", t.Mark)
	sections := []*section{netdev(&t.Interface, "wireguard"), s}
	for i := range t.Peers {
		peer := &t.Peers[i]
		s := &section{name: "WireGuardPeer"}
		s.text("PublicKey", peer.Keys.Public)
		if peer.Keys.Shared != "" {
			s.text("PresharedKeyFile", p.secret(fmt.Sprintf("%s-%d.psk", t.Name, i), peer.Keys.Shared))
		}
		s.given("AllowedIPs", strings.Join(peer.AllowedIPs, ","))
		s.given("Endpoint", peer.Endpoint)
		s.givenNumber("PersistentKeepalive", peer.Keepalive)
		sections = append(sections, s)
	}
	p.add(t.Name, ".netdev", sections...)
	p.configure(&t.Interface, named(t.Name))
}
