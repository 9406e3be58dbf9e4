// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"net/http"
	"net/netip"
	"slices"

	"github.com/skerry-os/skerry/tests/metadata"
	"github.com/skerry-os/skerry/tests/vm"
)

// cloud is how a machine of a cloud looks from inside: what the firmware says, and the metadata server.
type cloud struct {
	name   string   // as in `skerry status`
	smbios []string // see vm.MachineConfig
	server func(metadata.Machine) http.Handler
	// addresses of the server, 169.254.169.254 if there are none; the names in DNS are those of the first.
	addresses []string
	names     []string
	// numbered is set where instance-ids are numbers.
	numbered bool
	// tls is set where the server is asked over https.
	tls bool
}

const (
	metadataAddress = "169.254.169.254"
	cloudUUID       = "11111111-2222-4333-8444-555555555555"
	// cloudHostname is what every cloud calls its machine.
	cloudHostname = "named-by-the-cloud"
)

var azureSMBIOS = []string{
	"type=1,manufacturer=Microsoft Corporation,product=Virtual Machine,uuid=" + cloudUUID,
	"type=3,asset=7783-7084-3265-9085-8269-3286-77",
}

// readyClouds are those that most machines are in: theirs go on to Ready.
var readyClouds = []cloud{
	{
		name: "ec2",
		smbios: []string{"type=1,manufacturer=Amazon EC2,product=t3.medium,uuid=ec2e1916-9099-7caf-fd21-012345abcdef," +
			"serial=ec2e1916-9099-7caf-fd21-012345abcdef"},
		// Version 1 is turned off, as it is with new instances, and the service is slow to start.
		server: func(m metadata.Machine) http.Handler {
			return &metadata.SlowStart{Handler: &metadata.EC2{Machine: m, V2Only: true}, Drop: 1, Refuse: 2}
		},
	},
	{
		name:   "gce",
		smbios: []string{"type=1,manufacturer=Google,product=Google Compute Engine,serial=GoogleCloud-0123456789ABCDEF"},
		server: func(m metadata.Machine) http.Handler {
			for i := range m.Keys {
				m.Keys[i] = "skerry:" + m.Keys[i]
			}
			return &metadata.GCE{Machine: m}
		},
		names: []string{"metadata.google.internal"},
	},
	{
		name:      "azure",
		smbios:    azureSMBIOS,
		server:    func(m metadata.Machine) http.Handler { return &metadata.Azure{Machine: m} },
		addresses: []string{metadataAddress, "168.63.129.16"},
	},
	{
		name:   "openstack",
		smbios: []string{"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,uuid=" + cloudUUID},
		server: func(m metadata.Machine) http.Handler { return &metadata.OpenStack{Machine: m} },
	},
	{
		name:   "hetzner",
		smbios: []string{"type=1,manufacturer=Hetzner,product=vServer,serial=12345678"},
		server: func(m metadata.Machine) http.Handler { return &metadata.Hetzner{Machine: m} },
	},
}

// clouds are the others.
var clouds = []cloud{
	{
		name:     "digitalocean",
		smbios:   []string{"type=1,manufacturer=DigitalOcean,product=Droplet,serial=1234567"},
		server:   func(m metadata.Machine) http.Handler { return &metadata.DigitalOcean{Machine: m} },
		numbered: true,
	},
	{
		name:   "upcloud",
		smbios: []string{"type=1,manufacturer=UpCloud,product=UpCloud"},
		server: func(m metadata.Machine) http.Handler { return &metadata.UpCloud{Machine: m} },
	},
	{
		name:   "vultr",
		smbios: []string{"type=1,manufacturer=Vultr,product=VC2"},
		server: func(m metadata.Machine) http.Handler { return &metadata.Vultr{Machine: m} },
	},
	{
		name:      "scaleway",
		smbios:    []string{"type=1,manufacturer=Scaleway,product=SCW-DEV1-S"},
		server:    func(m metadata.Machine) http.Handler { return &metadata.Scaleway{Machine: m} },
		addresses: []string{"169.254.42.42"},
	},
	{
		name:     "akamai",
		smbios:   []string{"type=1,manufacturer=Akamai,product=Compute Instance"},
		server:   func(m metadata.Machine) http.Handler { return &metadata.Akamai{Machine: m} },
		numbered: true,
	},
	{
		name:   "oracle",
		smbios: []string{"type=1,manufacturer=QEMU,product=Standard PC", "type=3,asset=OracleCloud.com"},
		server: func(m metadata.Machine) http.Handler { return &metadata.Oracle{Machine: m} },
	},
	{
		name:   "exoscale",
		smbios: []string{"type=1,manufacturer=Exoscale,product=Exoscale Compute Platform"},
		server: func(m metadata.Machine) http.Handler { return &metadata.CloudStack{Machine: m, Prefix: "/1.0"} },
	},
	{
		name:   "cloudstack",
		smbios: []string{"type=1,manufacturer=Apache Software Foundation,product=CloudStack KVM Hypervisor"},
		server: func(m metadata.Machine) http.Handler { return &metadata.CloudStack{Machine: m, Prefix: "/latest"} },
		// The server of DHCP has it, which is the lab's host.
		addresses: []string{},
	},
	{
		// Metal of many makers: whoever boots it says on the kernel command line where it is.
		name:      "equinix",
		smbios:    []string{kernelCommandLine("ds=equinix")},
		server:    func(m metadata.Machine) http.Handler { return &metadata.Equinix{Machine: m} },
		addresses: []string{"198.51.100.2"},
		names:     []string{"metadata.platformequinix.com"},
		tls:       true,
	},
}

// named returns the cloud of a name.
func named(name string) cloud {
	for _, c := range slices.Concat(readyClouds, clouds) {
		if c.name == name {
			return c
		}
	}
	panic("no cloud is called " + name)
}

// metadata is what the cloud's server says to a machine with this user-data, and with the lab's ssh key.
func (c cloud) metadata(t *T, userData string) http.Handler {
	m := metadata.Machine{
		InstanceID: "i-0123456789abcdef0", Hostname: cloudHostname, Keys: []string{t.lab.AuthorizedKey()}, UserData: userData,
	}
	if c.numbered {
		m.InstanceID = "1234567"
	}
	return c.server(m)
}

// serve starts the cloud's metadata server, and returns a machine of the cloud.
func (c cloud) serve(t *T, machine string, handler http.Handler) (vm.MachineConfig, error) {
	addresses := []netip.Addr{}
	for _, text := range c.addresses {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	if c.addresses == nil {
		addresses = append(addresses, netip.MustParseAddr(metadataAddress))
	}
	cfg := vm.MachineConfig{Name: machine, SMBIOS: c.smbios}
	if !c.tls {
		return cfg, t.lab.Serve(handler, addresses, c.names...)
	}
	certificate, authority, err := newCertificate(c.names[0])
	if err != nil {
		return cfg, err
	}
	cfg.Credentials = trust(authority)
	return cfg, t.lab.ServeTLS(handler, certificate, addresses, c.names...)
}

// kernelCommandLine is what the firmware says for words to be added to the kernel command line, which is a part of the
// signed kernel image: systemd-stub(7) takes them from there.
func kernelCommandLine(words string) string {
	return "type=11,value=io.systemd.stub.kernel-cmdline-extra=" + words
}
