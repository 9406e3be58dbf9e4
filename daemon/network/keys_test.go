// SPDX-License-Identifier: Apache-2.0

package network

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// manual is what systemd 257 reads, by kind of file and section: the keys that
// its manual pages list, of the sections that are used here.
var manual = map[string]map[string]string{
	// systemd.link(5)
	".link": {
		"Match": "MACAddress PermanentMACAddress Path Driver Type Kind Property OriginalName Host Virtualization KernelCommandLine KernelVersion Credential Architecture Firmware",
		"Link": "Description Property ImportProperty UnsetProperty Alias MACAddressPolicy MACAddress NamePolicy Name AlternativeNamesPolicy AlternativeName " +
			"TransmitQueues ReceiveQueues TransmitQueueLength MTUBytes BitsPerSecond Duplex AutoNegotiation WakeOnLan WakeOnLanPassword Port Advertise",
	},
	// systemd.netdev(5)
	".netdev": {
		"NetDev": "Description Name Kind MTUBytes MACAddress",
		"Bond": "Mode TransmitHashPolicy LACPTransmitRate MIIMonitorSec PeerNotifyDelaySec UpDelaySec DownDelaySec LearnPacketIntervalSec AdSelect AdActorSystemPriority " +
			"AdUserPortKey AdActorSystem FailOverMACPolicy ARPValidate ARPIntervalSec ARPIPTargets ARPAllTargets PrimaryReselectPolicy ResendIGMP PacketsPerSlave " +
			"GratuitousARP AllSlavesActive DynamicTransmitLoadBalancing MinLinks ARPMissedMax",
		"Bridge": "HelloTimeSec MaxAgeSec ForwardDelaySec AgeingTimeSec Priority GroupForwardMask DefaultPVID MulticastQuerier MulticastSnooping VLANFiltering VLANProtocol STP " +
			"MulticastIGMPVersion FDBMaxLearned",
		"VLAN":          "Id Protocol GVRP MVRP LooseBinding ReorderHeader EgressQOSMaps IngressQOSMaps",
		"VRF":           "Table",
		"WireGuard":     "PrivateKey PrivateKeyFile ListenPort FirewallMark RouteTable RouteMetric",
		"WireGuardPeer": "PublicKey PublicKeyFile PresharedKey PresharedKeyFile AllowedIPs Endpoint PersistentKeepalive RouteTable RouteMetric",
	},
	// systemd.network(5)
	".network": {
		"Match": "MACAddress PermanentMACAddress Path Driver Type Kind Property Name WLANInterfaceType SSID BSSID Host Virtualization KernelCommandLine KernelVersion Credential Architecture Firmware",
		"Link":  "MACAddress MTUBytes ARP Multicast AllMulticast Promiscuous Unmanaged Group RequiredForOnline RequiredFamilyForOnline ActivationPolicy",
		"Network": "Description MACVLAN MACVTAP IPVLAN IPVTAP VXLAN Xfrm Tunnel VLAN Bond Bridge VRF BatmanAdvanced IPoIB MACsec DHCP DHCPServer LinkLocalAddressing " +
			"IPv6LinkLocalAddressGenerationMode IPv6StableSecretAddress IPv4LLStartAddress IPv4LLRoute DefaultRouteOnDevice LLMNR MulticastDNS DNSOverTLS DNSSEC " +
			"DNSSECNegativeTrustAnchors LLDP EmitLLDP BindCarrier Address Gateway DNS UseDomains Domains DNSDefaultRoute NTP IPv4Forwarding IPv6Forwarding IPMasquerade " +
			"IPv6PrivacyExtensions IPv6AcceptRA IPv6DuplicateAddressDetection IPv6HopLimit IPv6RetransmissionTimeSec IPv4ReversePathFilter IPv4AcceptLocal " +
			"IPv4RouteLocalnet IPv4ProxyARP IPv4ProxyARPPrivateVLAN IPv6ProxyNDP IPv6ProxyNDPAddress IPv6SendRA DHCPPrefixDelegation IPv6MTUBytes MPLSRouting KeepMaster " +
			"ActiveSlave PrimarySlave ConfigureWithoutCarrier IgnoreCarrierLoss KeepConfiguration",
		"Bridge": "UnicastFlood MulticastFlood MulticastToUnicast NeighborSuppression Learning HairPin Isolated UseBPDU FastLeave AllowPortToBeRoot ProxyARP ProxyARPWiFi MulticastRouter Cost Priority",
		"DHCPv4": "RequestAddress SendHostname Hostname MUDURL ClientIdentifier VendorClassIdentifier UserClass DUIDType DUIDRawData IAID RapidCommit Anonymize RequestOptions SendOption " +
			"SendVendorOption IPServiceType SocketPriority Label UseDNS RoutesToDNS UseNTP RoutesToNTP UseSIP UseCaptivePortal UseDNR UseMTU UseHostname UseDomains UseRoutes " +
			"RouteMetric RouteTable RouteMTUBytes QuickAck InitialCongestionWindow InitialAdvertisedReceiveWindow UseGateway UseTimezone Use6RD IPv6OnlyMode " +
			"FallbackLeaseLifetimeSec RequestBroadcast MaxAttempts ListenPort ServerPort DenyList AllowList SendRelease SendDecline NetLabel NFTSet",
		"DHCPv6": "MUDURL IAID DUIDType DUIDRawData RequestOptions SendOption SendVendorOption UserClass VendorClass PrefixDelegationHint RapidCommit SendHostname Hostname UseAddress " +
			"UseCaptivePortal UseDelegatedPrefix UseDNS UseNTP UseSIP UseDNR UseHostname UseDomains NetLabel NFTSet SendRelease WithoutRA UnassignedSubnetPolicy",
		"IPv6AcceptRA": "Token UseDNS UseDomains RouteTable RouteMetric QuickAck UseMTU UseHopLimit UseReachableTime UseRetransmissionTime UseGateway UseRoutePrefix UseCaptivePortal " +
			"UsePREF64 UseDNR UseAutonomousPrefix UseOnLinkPrefix UseRedirect RouterDenyList RouterAllowList PrefixDenyList PrefixAllowList RouteDenyList RouteAllowList DHCPv6Client NetLabel NFTSet",
		"Route": "Gateway GatewayOnLink Destination Source Metric IPv6Preference Scope PreferredSource Table HopLimit Protocol Type InitialCongestionWindow " +
			"InitialAdvertisedReceiveWindow QuickAck FastOpenNoCookie MTUBytes TCPAdvertisedMaximumSegmentSize TCPCongestionControlAlgorithm TCPRetransmissionTimeoutSec MultiPathRoute NextHop",
		"RoutingPolicyRule": "TypeOfService From To FirewallMark Table Priority GoTo IncomingInterface OutgoingInterface L3MasterDevice SourcePort DestinationPort IPProtocol InvertRule Family " +
			"User SuppressPrefixLength SuppressInterfaceGroup Type",
	},
}

// repeated are the keys that may stand several times in a section.
var repeated = []string{"Address", "DNS", "VLAN"}

// TestKeys: networkd passes over what it doesn't know, and tells nobody but its
// log.
func TestKeys(t *testing.T) {
	used := map[string]bool{}
	for _, input := range cases(t) {
		for _, file := range Render(parse(t, input)) {
			if file.Secret {
				continue
			}
			extension := filepath.Ext(file.Name)
			for i, s := range sectionsOf(t, file) {
				keys, ok := manual[extension][s.name]
				if !ok {
					t.Errorf("%s: a %s file has no section [%s]", file.Name, extension, s.name)
				}
				if first := s.name == "Match" || s.name == "NetDev"; first != (i == 0) {
					t.Errorf("%s: section %d is [%s]", file.Name, i, s.name)
				}
				used[extension+s.name] = true
				seen := map[string]bool{}
				for _, line := range s.settings {
					if !slices.Contains(strings.Fields(keys), line.key) {
						t.Errorf("%s: [%s] has no %s", file.Name, s.name, line.key)
					}
					if seen[line.key] && !slices.Contains(repeated, line.key) {
						t.Errorf("%s: %s stands twice in [%s]", file.Name, line.key, s.name)
					}
					seen[line.key] = true
				}
			}
		}
	}
	for extension, sections := range manual {
		for name := range sections {
			if !used[extension+name] {
				t.Errorf("no case has section [%s] in a %s file", name, extension)
			}
		}
	}
}
