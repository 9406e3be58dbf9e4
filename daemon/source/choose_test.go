// SPDX-License-Identifier: Apache-2.0

package source

import (
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// machines are what real ones say.
var machines = []struct {
	name string
	dmi  DMI
	want string
}{
	{"ec2 nitro", DMI{sysVendor: "Amazon EC2", productName: "m5.large", productUUID: "ec2a1b2c-0000-4000-8000-000000000000"}, "ec2"},
	{"ec2 metal", DMI{sysVendor: "Amazon EC2", productUUID: "3f2a1b2c-0000-4000-8000-000000000000"}, "ec2"},
	{"ec2 xen", DMI{sysVendor: "Xen", productName: "HVM domU", productUUID: "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, "ec2"},
	{"ec2 xen, bytes swapped", DMI{sysVendor: "Xen", productName: "HVM domU", productUUID: "45E12AEC-DCD1-B213-94ED-012345ABCDEF"}, "ec2"},
	{"ec2 xen without firmware", DMI{xenUUID: "ec2e1916-9099-7caf-fd21-012345abcdef"}, "ec2"},
	{"a clone of ec2", DMI{sysVendor: "QEMU", productUUID: "ec2a1b2c-0000-4000-8000-000000000000", productSerial: "EC2A1B2C-0000-4000-8000-000000000000"}, "ec2"},
	{"a UUID by chance", DMI{sysVendor: "Dell Inc.", productUUID: "ec2a1b2c-0000-4000-8000-000000000000", productSerial: "ABC123"}, ""},
	{"a swapped UUID by chance", DMI{sysVendor: "QEMU", productUUID: "45e12aec-dcd1-b213-94ed-012345abcdef"}, ""},
	{"gce", DMI{sysVendor: "Google", productName: "Google Compute Engine", productSerial: "GoogleCloud-1234"}, "gce"},
	{"gce metal", DMI{productSerial: "GoogleCloud-1234"}, "gce"},
	{"azure", DMI{sysVendor: "Microsoft Corporation", productName: "Virtual Machine", chassisTag: "7783-7084-3265-9085-8269-3286-77"}, "azure"},
	{"hyper-v at home", DMI{sysVendor: "Microsoft Corporation", productName: "Virtual Machine", chassisTag: "1234-5678"}, ""},
	{"openstack", DMI{sysVendor: "OpenStack Foundation", productName: "OpenStack Nova"}, "openstack"},
	{"huawei", DMI{sysVendor: "OpenStack Foundation", productName: "KVM", chassisTag: "HUAWEICLOUD"}, "openstack"},
	{"hetzner", DMI{sysVendor: "Hetzner", productName: "vServer"}, "hetzner"},
	{"digitalocean", DMI{sysVendor: "DigitalOcean", productName: "Droplet"}, "digitalocean"},
	{"upcloud", DMI{sysVendor: "UpCloud"}, "upcloud"},
	{"vultr", DMI{sysVendor: "Vultr", productName: "VC2"}, "vultr"},
	{"scaleway", DMI{sysVendor: "Scaleway", productName: "SCW-DEV1-S"}, "scaleway"},
	{"akamai", DMI{sysVendor: "Akamai"}, "akamai"},
	{"linode", DMI{sysVendor: "Linode"}, "akamai"},
	{"oracle", DMI{sysVendor: "QEMU", chassisTag: "OracleCloud.com"}, "oracle"},
	{"exoscale", DMI{sysVendor: "Exoscale", productName: "Exoscale Compute Platform"}, "exoscale"},
	{"cloudstack", DMI{sysVendor: "Apache Software Foundation", productName: "CloudStack KVM Hypervisor"}, "cloudstack"},
	{"vmware", DMI{sysVendor: "VMware, Inc.", productName: "VMware7,1"}, "vmware"},
	{"qemu", DMI{sysVendor: "QEMU", productName: "Standard PC (Q35 + ICH9, 2009)"}, ""},
	{"nothing", DMI{}, ""},
}

// TestChoose: exactly one platform recognises a machine, or none.
func TestChoose(t *testing.T) {
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			got, err := Choose(m.dmi, CommandLine{})
			if err != nil || got != m.want {
				t.Errorf("got %q, %v, want %q", got, err, m.want)
			}
			var claims []string
			for _, p := range platforms {
				for _, r := range p.rules {
					if r.matches(m.dmi) {
						claims = append(claims, p.name)
						break
					}
				}
			}
			if len(claims) > 1 {
				t.Errorf("claimed by %q", claims)
			}
		})
	}
}

func TestChooseByCommandLine(t *testing.T) {
	google := DMI{productName: "Google Compute Engine"}
	for given, want := range map[string]string{"ec2": "ec2", "aws": "ec2", "packet": "equinix", "none": "none", "nocloud": "nocloud", "configdrive": "configdrive"} {
		if got, err := Choose(google, CommandLine{Source: given}); err != nil || got != want {
			t.Errorf("ds=%s: got %q, %v", given, got, err)
		}
	}
	_, err := Choose(google, CommandLine{Source: "ec3"})
	if err == nil || !strings.Contains(err.Error(), "ds=ec3: no source has this name: use one of azure, gce,") {
		t.Errorf("got %v", err)
	}
}

// TestSet: which sources a machine has, in their order.
func TestSet(t *testing.T) {
	page, err := url.Parse("https://a.example/x")
	if err != nil {
		t.Fatal(err)
	}
	azure := DMI{chassisTag: "7783-7084-3265-9085-8269-3286-77"}
	for _, test := range []struct {
		name           string
		dmi            DMI
		line           CommandLine
		local, network string
		reports        bool
	}{
		{name: "metal", local: "credentials fw_cfg nocloud configdrive"},
		{name: "vmware", dmi: DMI{sysVendor: "VMware, Inc."}, local: "credentials fw_cfg vmware nocloud configdrive"},
		{name: "azure", dmi: azure, local: "credentials fw_cfg nocloud configdrive ovf", network: "azure", reports: true},
		{name: "a URL on azure", dmi: azure, line: CommandLine{ConfigURL: page}, local: "credentials fw_cfg nocloud configdrive ovf", network: "config_url", reports: true},
		{name: "a seed on hetzner", dmi: DMI{sysVendor: "Hetzner"}, line: CommandLine{Source: "nocloud", Seed: page}, local: "credentials fw_cfg nocloud configdrive", network: "nocloud"},
		{name: "none on hetzner", dmi: DMI{sysVendor: "Hetzner"}, line: CommandLine{Source: "none"}, local: "credentials fw_cfg nocloud configdrive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, err := newSet(quiet, test.dmi, test.line)
			if err != nil {
				t.Fatal(err)
			}
			var local []string
			for _, s := range set.Local {
				local = append(local, s.Name())
			}
			network := ""
			if set.Network != nil {
				network = set.Network.Name()
			}
			if strings.Join(local, " ") != test.local || network != test.network || (set.Reporter != nil) != test.reports {
				t.Errorf("got %q, %q, reports %v", local, network, set.Reporter != nil)
			}
		})
	}
	for _, p := range platforms {
		if p.open == nil {
			continue
		}
		set, err := newSet(quiet, DMI{}, CommandLine{Source: p.name})
		if err != nil || set.Network == nil || set.Network.Name() != p.name {
			t.Errorf("ds=%s: %+v, %v", p.name, set, err)
		}
	}
}

func TestRules(t *testing.T) {
	const golden = "testdata/rules.golden"
	got := strings.Join(Rules(), "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("differs from %s (-update rewrites it), %v:\n%s", golden, err, got)
	}
}

func TestReadDMI(t *testing.T) {
	root := t.TempDir()
	if d, err := ReadDMI(root); err != nil || len(d) > 0 {
		t.Errorf("a machine without: %v, %v", d, err)
	}
	for path, content := range map[string]string{dmiDir + "/sys_vendor": "Hetzner\n", dmiDir + "/product_uuid": "\n", xenUUIDFile: "ec2e\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, path), content)
	}
	d, err := ReadDMI(root)
	if err != nil || len(d) != 2 || d[sysVendor] != "Hetzner" || d[xenUUID] != "ec2e" {
		t.Errorf("got %v, %v", d, err)
	}
	write(t, filepath.Join(root, dmiDir, "product_name"), strings.Repeat("x", maxDMIField+1))
	if _, err := ReadDMI(root); err == nil {
		t.Error("an endless name was accepted")
	}
}
