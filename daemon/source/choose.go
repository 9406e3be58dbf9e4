// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// firstBootLinger is how long a machine that has never had a configuration, and
// has no cloud to ask for one, looks for a volume with one.
const firstBootLinger = 10 * time.Second

// Set is where the configuration of one machine can be.
type Set struct {
	// Local are the media, in the order they are asked. They need no network.
	Local []Source
	// Network is the one source of the network, or nil. It is asked when no
	// medium has a document.
	Network Source
	// Kept is the copy of the last valid document. It stands in for the others,
	// and doesn't count as a medium: a disk that was copied carries it along.
	Kept Keeper
	// Applied is what was put in the place of a source's user-data on this
	// machine. Nil where there is no such place.
	Applied *Applied
	// Reporter is the cloud that has to be told when the machine is up, or nil.
	Reporter Reporter
}

// Default returns the sources of this machine.
func Default(log *slog.Logger) (*Set, error) {
	dmi, err := ReadDMI("/")
	if err != nil {
		return nil, err
	}
	line, err := readCommandLine("/proc/cmdline", dmi[productSerial])
	if err != nil {
		return nil, err
	}
	return newSet(log, dmi, line)
}

func newSet(log *slog.Logger, dmi DMI, line CommandLine) (*Set, error) {
	name, err := Choose(dmi, line)
	if err != nil {
		return nil, err
	}
	kept := NewState()
	set := &Set{Kept: kept, Applied: NewApplied()}
	cloud := openPlatform(log, dmi, name)
	set.Reporter, _ = cloud.(Reporter) // wherever the configuration comes from
	switch {
	case line.ConfigURL != nil:
		set.Network = &ConfigURL{URL: line.ConfigURL, SHA256: line.SHA256, Given: line.Given, Fetcher: NewWebFetcher(log)}
	case line.Seed != nil:
		set.Network = &Seed{URL: line.Seed, Given: line.Given, Fetcher: NewWebFetcher(log)}
	default:
		set.Network = cloud
	}
	volumes := NewVolumes(log)
	if set.Network == nil && !kept.exists() {
		volumes.Linger = firstBootLinger
	}
	// What was handed to this very machine comes before what is found on a
	// volume, which may be attached to another one tomorrow.
	set.Local = []Source{NewCredentials(log), NewFwCfg(volumes)}
	if name == "vmware" {
		set.Local = append(set.Local, NewGuestInfo(log))
	}
	set.Local = append(set.Local, &NoCloud{Volumes: volumes, Given: line.Given}, &ConfigDrive{Volumes: volumes})
	if name == "azure" {
		set.Local = append(set.Local, NewOVF(volumes, strings.ToLower(dmi[productUUID])))
	}
	return set, nil
}

// openPlatform returns the source that a platform has on the network, or nil.
func openPlatform(log *slog.Logger, dmi DMI, name string) Source {
	for _, p := range platforms {
		if p.name == name && p.open != nil {
			return p.open(log, dmi)
		}
	}
	return nil
}

// platform is a cloud or hypervisor, and how its machines are recognised.
type platform struct {
	name    string
	aliases []string // names that cloud-init or habit have for it
	rules   []rule   // any of them
	// open returns its source of the network; nil where it has local media only.
	open func(log *slog.Logger, dmi DMI) Source
}

// platforms are looked through in this order: a cloud that speaks another's
// protocol comes before that one.
var platforms = []platform{
	{name: "azure", rules: []rule{{field: chassisTag, how: is, values: []string{"7783-7084-3265-9085-8269-3286-77"}}},
		open: func(log *slog.Logger, dmi DMI) Source {
			return &Azure{Bases: []string{azureBase}, Wire: azureWireBase, InstanceID: strings.ToLower(dmi[productUUID]), Fetcher: NewMetadataFetcher(log)}
		}},
	{name: "gce", aliases: []string{"gcp", "google"}, rules: []rule{
		{field: productName, how: is, values: []string{"Google Compute Engine"}},
		{field: productSerial, how: beginsWith, values: []string{"GoogleCloud-"}},
	}, open: func(log *slog.Logger, _ DMI) Source {
		return &GCE{Bases: gceBases, Fetcher: NewMetadataFetcher(log)}
	}},
	{name: "hetzner", rules: []rule{{field: sysVendor, how: is, values: []string{"Hetzner"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return NewSummary("hetzner", withLinkLocal(linkLocalMetadata, metadataBase), NewMetadataFetcher(log))
		}},
	{name: "digitalocean", rules: []rule{{field: sysVendor, how: is, values: []string{"DigitalOcean"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return NewSummary("digitalocean", fixed(metadataBase), NewMetadataFetcher(log))
		}},
	{name: "upcloud", rules: []rule{{field: sysVendor, how: is, values: []string{"UpCloud"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return NewSummary("upcloud", fixed(metadataBase), NewMetadataFetcher(log))
		}},
	{name: "vultr", rules: []rule{{field: sysVendor, how: is, values: []string{"Vultr"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return NewSummary("vultr", fixed(metadataBase), NewMetadataFetcher(log))
		}},
	{name: "scaleway", rules: []rule{{field: sysVendor, how: is, values: []string{"Scaleway"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return &Scaleway{Bases: scalewayBases, Fetcher: NewRootPortFetcher(log)}
		}},
	{name: "akamai", aliases: []string{"linode"}, rules: []rule{{field: sysVendor, how: is, values: []string{"Akamai", "Linode"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return &Akamai{Bases: akamaiBases, Fetcher: NewMetadataFetcher(log)}
		}},
	{name: "oracle", rules: []rule{{field: chassisTag, how: is, values: []string{"OracleCloud.com"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return &Oracle{Bases: oracleBases, Fetcher: NewMetadataFetcher(log)}
		}},
	{name: "exoscale", rules: []rule{{field: productName, how: beginsWith, values: []string{"Exoscale"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return &CloudStack{Kind: "exoscale", Prefix: "/1.0", Bases: fixed(metadataBase), Fetcher: NewMetadataFetcher(log)}
		}},
	{name: "cloudstack", rules: []rule{{field: productName, how: beginsWith, values: []string{"CloudStack"}}},
		open: func(log *slog.Logger, _ DMI) Source {
			return &CloudStack{Kind: "cloudstack", Prefix: "/latest", Bases: leaseServers(networkdLeases), Fetcher: NewMetadataFetcher(log)}
		}},
	{name: "openstack", rules: []rule{
		{field: productName, how: is, values: []string{"OpenStack Nova", "OpenStack Compute"}},
		{field: chassisTag, how: is, values: []string{
			"OpenStack Nova", "OpenStack Compute", "HUAWEICLOUD", "OpenTelekomCloud", "SAP CCloud VM", "Samsung Cloud Platform",
		}},
	}, open: func(log *slog.Logger, _ DMI) Source {
		return &OpenStack{Bases: withLinkLocal(linkLocalMetadata, metadataBase), Fetcher: NewMetadataFetcher(log)}
	}},
	// One UUID in four thousand begins like EC2's: those of its older machines
	// count with a second sign only.
	{name: "ec2", aliases: []string{"aws", "amazon"}, rules: []rule{
		{field: sysVendor, how: is, values: []string{"Amazon EC2"}},
		{field: productUUID, how: isEC2UUID, hint: &rule{field: productSerial, how: equalsField, values: []string{productUUID}}},
		{field: productUUID, how: isEC2UUID, hint: &rule{field: sysVendor, how: is, values: []string{"Xen"}}},
		{field: xenUUID, how: beginsWith, values: []string{"ec2", "EC2"}},
	}, open: func(log *slog.Logger, _ DMI) Source {
		return &EC2{Bases: ec2Bases, Fetcher: NewMetadataFetcher(log)}
	}},
	{name: "vmware", rules: []rule{{field: sysVendor, how: is, values: []string{"VMware, Inc."}}}},
	// Metal of many makers, which firmware does not tell from any other.
	{name: "equinix", aliases: []string{"packet"}, open: func(log *slog.Logger, _ DMI) Source {
		return NewSummary("equinix", fixed(equinixBase), NewMetadataFetcher(log))
	}},
	{name: "nocloud"},
	{name: "configdrive"},
	{name: "none"},
}

// Choose returns the name of the platform: the one on the kernel command line,
// or else the first whose rules say so, or an empty string.
func Choose(dmi DMI, line CommandLine) (string, error) {
	if line.Source != "" {
		for _, p := range platforms {
			if p.name == line.Source || slices.Contains(p.aliases, line.Source) {
				return p.name, nil
			}
		}
		return "", fmt.Errorf("kernel command line: ds=%s: no source has this name: use one of %s", line.Source, strings.Join(Names(), ", "))
	}
	for _, p := range platforms {
		for _, r := range p.rules {
			if r.matches(dmi) {
				return p.name, nil
			}
		}
	}
	return "", nil
}

// Names returns what ds= takes.
func Names() []string {
	var names []string
	for _, p := range platforms {
		names = append(names, p.name)
	}
	return names
}

// Rules returns how platforms are recognised, one rule a line.
func Rules() []string {
	var lines []string
	for _, p := range platforms {
		for _, r := range p.rules {
			lines = append(lines, p.name+": "+r.String())
		}
	}
	return lines
}
