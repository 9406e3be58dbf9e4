// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/skerry-os/skerry/tests/metadata"
	"github.com/skerry-os/skerry/tests/vm"
)

// medium is a place of a cloud-config that is no cloud: a disk, the firmware, the kernel command line.
type medium struct {
	name string // of the scenario, behind source-
	what string // for people
	run  func(ctx context.Context, t *T) error
}

const (
	// mediumHostname is what meta-data calls the machine.
	mediumHostname = "named-by-meta-data"
	mediumMetaData = "instance-id: medium-1\nlocal-hostname: " + mediumHostname + "\n"
)

var media = []medium{
	{
		name: "nocloud", what: "a disc labelled cidata in the CD drive",
		run: func(ctx context.Context, t *T) error {
			files, err := noCloudFiles(t)
			if err != nil {
				return err
			}
			disc, err := t.lab.Disc("seed", "cidata", files)
			if err != nil {
				return err
			}
			return boots(ctx, t, vm.MachineConfig{Name: "machine", Discs: []string{disc}},
				configured{source: "nocloud", hostname: mediumHostname})
		},
	},
	{
		name: "nocloud-url", what: "a web server that the firmware's serial number names, as ds=nocloud;s=URL",
		run: func(ctx context.Context, t *T) error {
			files, err := noCloudFiles(t)
			if err != nil {
				return err
			}
			if err := t.serveFiles("/machines/1/", files, "seed.example"); err != nil {
				return err
			}
			return boots(ctx, t, vm.MachineConfig{
				Name: "machine", SMBIOS: []string{"type=1,serial=ds=nocloud;s=http://seed.example/machines/1/"},
			}, configured{source: "nocloud", hostname: mediumHostname})
		},
	},
	{
		name: "configdrive", what: "a volume labelled config-2, as OpenStack makes it",
		run: func(ctx context.Context, t *T) error {
			nova := metadata.OpenStack{Machine: metadata.Machine{
				InstanceID: "medium-1", Hostname: mediumHostname, Keys: []string{t.lab.AuthorizedKey()}, UserData: restingConfig,
			}}
			files := map[string][]byte{}
			for name, content := range nova.Files() {
				if content != "" {
					files["openstack/latest/"+name] = []byte(content)
				}
			}
			volume, err := t.lab.Volume("config-drive", "config-2", files)
			if err != nil {
				return err
			}
			return boots(ctx, t, vm.MachineConfig{Name: "machine", Disks: []string{volume}},
				configured{source: "configdrive", hostname: mediumHostname})
		},
	},
	{
		name: "azure-cd", what: "the CD that Azure attaches to a new machine",
		run: func(ctx context.Context, t *T) error {
			azure := metadata.Azure{Machine: metadata.Machine{
				Hostname: mediumHostname, Keys: []string{t.lab.AuthorizedKey()}, UserData: restingConfig,
			}}
			// Azure's has a label that changes with its releases.
			disc, err := t.lab.Disc("azure", "rd_rdfe_stable", map[string][]byte{"ovf-env.xml": azure.OVF()})
			if err != nil {
				return err
			}
			return boots(ctx, t, vm.MachineConfig{Name: "machine", Discs: []string{disc}, SMBIOS: azureSMBIOS},
				configured{source: "ovf", hostname: mediumHostname})
		},
	},
	{
		name: "cmdline", what: "the kernel command line: keys, and the URL of the rest, with its digest",
		run: func(ctx context.Context, t *T) error {
			const hostname = "named-by-user-data"
			userData, err := vm.Override([]byte(plainConfig), vm.Overrides{Hostname: hostname, AuthorizedKey: t.lab.AuthorizedKey()})
			if err != nil {
				return err
			}
			if err := t.serveFiles("/", map[string][]byte{"config.yaml": userData}, "config.example"); err != nil {
				return err
			}
			url := fmt.Sprintf("http://config.example/config.yaml#sha256=%x", sha256.Sum256(userData))
			return boots(ctx, t, vm.MachineConfig{
				Name: "machine", SMBIOS: []string{kernelCommandLine("config_url=" + url + " skerry.time.wait-for-sync=true")},
			}, configured{source: "config_url", hostname: hostname, waitFrom: "kernel command line"})
		},
	},
	{
		name: "credential", what: "systemd's credentials, which the firmware hands over",
		run: func(ctx context.Context, t *T) error {
			files, err := noCloudFiles(t)
			if err != nil {
				return err
			}
			credentials := map[string][]byte{}
			for name, content := range files {
				credentials["skerry."+name] = content
			}
			return boots(ctx, t, vm.MachineConfig{Name: "machine", Credentials: credentials},
				configured{source: "credentials", hostname: mediumHostname})
		},
	},
	{
		name: "fwcfg", what: "QEMU's fw_cfg",
		run: func(ctx context.Context, t *T) error {
			files, err := noCloudFiles(t)
			if err != nil {
				return err
			}
			fwCfg := map[string][]byte{}
			for name, content := range files {
				fwCfg["opt/org.skerry/"+name] = content
			}
			return boots(ctx, t, vm.MachineConfig{Name: "machine", FwCfg: fwCfg},
				configured{source: "fw_cfg", hostname: mediumHostname})
		},
	},
	{
		name: "state", what: "the copy on the STATE partition, when the volume of the first boot is gone",
		run: func(ctx context.Context, t *T) error {
			files, err := noCloudFiles(t)
			if err != nil {
				return err
			}
			volume, err := t.lab.Volume("seed", "cidata", files)
			if err != nil {
				return err
			}
			var m *vm.Machine
			return t.Steps(
				step{"boot it with the volume", func() error {
					m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: "machine", CPUs: smallCPUs, Memory: smallMemory, Disks: []string{volume}})
					if err != nil {
						return err
					}
					if err := m.WaitSSH(ctx); err != nil {
						return err
					}
					return configured{source: "nocloud", hostname: mediumHostname}.is(ctx, m)
				}},
				step{"take the volume away and boot it again", func() error {
					m.SetDisks()
					return m.Reboot(ctx)
				}},
				step{"it is configured as before, and says that this is from the copy", func() error {
					return configured{source: "state", hostname: mediumHostname}.is(ctx, m)
				}},
			)
		},
	},
}

// noCloudFiles are the files of a NoCloud volume, with the lab's ssh key.
func noCloudFiles(t *T) (map[string][]byte, error) {
	userData, err := vm.Override([]byte(restingConfig), vm.Overrides{AuthorizedKey: t.lab.AuthorizedKey()})
	return map[string][]byte{"user-data": userData, "meta-data": []byte(mediumMetaData)}, err
}

// serveFiles is a web server with files in one folder.
func (t *T) serveFiles(folder string, files map[string][]byte, name string) error {
	mux := http.NewServeMux()
	for file, content := range files {
		mux.HandleFunc("GET "+folder+file, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(content) // the client has gone: nobody to tell
		})
	}
	return t.lab.Serve(mux, []netip.Addr{netip.MustParseAddr("198.51.100.1")}, name)
}
