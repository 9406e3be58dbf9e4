// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// seedAddress is where a machine that boots from the network is told to look for its cloud-config.
const seedAddress = "192.0.2.80"

var netboot = Scenario{
	Name:   "netboot",
	Suite:  SuiteAll,
	Shows:  "a machine with an empty disk and no medium, whose firmware boots from the network (UEFI HTTP boot), runs the live system in memory, installs itself as its cloud-config on a web server says, boots from its disk, and is Ready",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		if err := t.serveNetboot(); err != nil {
			return err
		}
		if err := t.serveSeed("#cloud-config\nskerry:\n  install: {serial: disk}\n  cluster: {token: of-the-installed}\n", serverName); err != nil {
			return err
		}
		m, err := t.addBlank(ctx, vm.MachineConfig{
			Name: serverName, Netboot: vm.NetbootUEFI,
			SMBIOS: []string{"type=1,serial=ds=nocloud;s=http://" + seedAddress + "/"},
		})
		if err != nil {
			return err
		}
		return t.Steps(
			step{"it boots from the network, and installs itself", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				return t.installsItself(ctx, m, func() error { return nil })
			}},
			step{"it boots from its disk, though the network still has something to boot, and its node is Ready", func() error {
				_, err := m.WaitServer(ctx)
				return err
			}},
			step{"it runs from its disk", func() error { return isInstalled(ctx, m) }},
		)
	},
}

// netbootEndings are of the files of a build that machines boot from the network: an EFI program, and what iPXE takes.
const (
	netbootProgram = ".netboot.efi"
	netbootScript  = ".netboot.ipxe"
)

// serveNetboot serves what was built with the image to machines that boot from the network. iPXE is given a script that says
// where the cloud-config is, and goes on to that of the build.
func (t *T) serveNetboot() error {
	dir, name := filepath.Dir(t.Image), strings.TrimSuffix(filepath.Base(t.Image), ".raw")
	for _, ending := range []string{netbootProgram, netbootScript} {
		if _, err := os.Stat(filepath.Join(dir, name+ending)); err != nil {
			return fmt.Errorf("%w: run `make netboot`", err)
		}
	}
	const own = "start.ipxe"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+own, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "#!ipxe\nset skerry-args config_url=http://%s/user-data\nchain %s\n", seedAddress, name+netbootScript)
	})
	mux.Handle("GET /", http.FileServerFS(os.DirFS(dir)))
	return t.lab.ServeBoot(mux, name+netbootProgram, own)
}

// serveSeed serves a NoCloud folder with a cloud-config, to which the name of a machine and the lab's key are added.
func (t *T) serveSeed(config, name string) error {
	userData, err := t.installConfig(config, name)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /user-data", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(userData) })
	return t.lab.Serve(mux, []netip.Addr{netip.MustParseAddr(seedAddress)})
}
