// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

const (
	// driver needs no hardware: it makes a data acquisition card that measures waves of its own.
	driver = "comedi_test"
	// driversOf is the folder of the kernel's drivers that it is in, which the image lacks (image/files.stripped).
	driversOf = "drivers/comedi"

	driverRows = `
  modules: [` + driver + `]
  extensions:
    - {name: card, url: "` + payloadURL + `card-{version}.raw"}
`
)

var extensionDriver = Scenario{
	Name:   "extension-driver",
	Suite:  SuiteAll,
	Shows:  "an extension of drivers, signed by one whose certificate is in the image, is merged and its driver loaded; an upgrade without one for the next version is refused; with it, the driver is there after the upgrade, and after the way back without its server",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		userData, err := u.config(upgradeServerConfig+strings.TrimPrefix(driverRows, "\n"), patientTrial)
		if err != nil {
			return err
		}
		var image string
		var m *vm.Machine
		nextDriver := filepath.Join(u.dir, "card-"+payloadVersion+".raw")
		return t.Steps(
			step{"build an image with the certificate, the next version, and the drivers for both", func() (err error) {
				image, err = buildWithDrivers(ctx, t, u)
				return err
			}},
			step{"boot " + serverName + " until its node is Ready; its driver is there", func() (err error) {
				if m, _, err = u.boot(ctx, vm.MachineConfig{UserData: userData, Image: image}); err != nil {
					return err
				}
				return hasDriver(ctx, m)
			}},
			step{"without drivers for the next version the upgrade is refused, and nothing is written", func() error {
				if err := os.Rename(nextDriver, nextDriver+"-away"); err != nil {
					return err
				}
				if err := refusesPayload(ctx, m, "good", "card: fetch", exitRefused); err != nil {
					return err
				}
				if err := os.Rename(nextDriver+"-away", nextDriver); err != nil {
					return err
				}
				return u.are(ctx, m, u.from+" proven runs, empty")
			}},
			step{"with them it is upgraded and blessed, and the driver is there", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				if err := u.proves(ctx, m, payloadVersion, "blessed"); err != nil {
					return err
				}
				return hasDriver(ctx, m)
			}},
			step{"rolled back, with no server to fetch from, it is there, too", func() error {
				if err := os.Rename(u.dir, u.dir+"-away"); err != nil {
					return err
				}
				if _, err := m.Run(ctx, "sudo skerry upgrade rollback"); err != nil {
					return err
				}
				if err := u.proves(ctx, m, u.from, "rolled back"); err != nil {
					return err
				}
				return hasDriver(ctx, m)
			}},
		)
	},
}

// hasDriver checks that the driver is of the extension, loaded, and has made its device.
func hasDriver(ctx context.Context, m *vm.Machine) error {
	if err := extensionsAre(ctx, m, "card 1.0 merged"); err != nil {
		return err
	}
	if err := mustFail(ctx, m, "ls /etc/verity.d/*.crt"); err != nil { // the certificate is the image's
		return err
	}
	return outputHas(ctx, m, "test -c /dev/comedi0 && cat /sys/module/"+driver+"/initstate", "live")
}

// buildWithDrivers builds an image that trusts a signer of extensions, its next version, and drivers for both.
func buildWithDrivers(ctx context.Context, t *T, u *upgrades) (image string, err error) {
	dir := filepath.Join(t.Build, "extension-driver")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	signer, err := newExtensionSigner(filepath.Join(dir, "signer"))
	if err != nil {
		return "", err
	}
	// As `make image EXTENSION_CERTS=…` does.
	tree := filepath.Join(dir, "tree")
	for _, args := range [][]string{
		{"cp", "--archive", "--link", filepath.Join(t.Build, "tree"), tree},
		{"install", "-D", "--mode=644", signer.certificateFile(), filepath.Join(tree, "usr/lib/verity.d/lab.crt")},
	} {
		if err := onHost(ctx, args...); err != nil {
			return "", err
		}
	}
	if err := t.buildImage(ctx, dir, "-tree", tree); err != nil {
		return "", err
	}
	if err := u.build(ctx, "good", "-tree", tree); err != nil {
		return "", err
	}
	drivers := filepath.Join(dir, "drivers")
	if err := layDrivers(ctx, filepath.Join(dir, "manifest.json"), drivers); err != nil {
		return "", err
	}
	if err := errors.Join(signer.buildTree(ctx, u, "card", drivers), signer.buildTree(ctx, u, "card", drivers, "-version", payloadVersion)); err != nil {
		return "", err
	}
	return vm.FindImage(dir)
}

// layDrivers takes the drivers out of the Debian package that an image's kernel is of.
func layDrivers(ctx context.Context, manifestFile, to string) error {
	text, err := os.ReadFile(manifestFile)
	if err != nil {
		return err
	}
	var manifest struct {
		Kernel   string                                 `json:"kernel"`
		Packages []struct{ Name, Version, Arch string } `json:"packages"`
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	of := slices.IndexFunc(manifest.Packages, func(p struct{ Name, Version, Arch string }) bool { return p.Name == "linux-image-"+manifest.Kernel })
	if of < 0 {
		return fmt.Errorf("%s has no package of the kernel %s", manifestFile, manifest.Kernel)
	}
	p := manifest.Packages[of]
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	// Where the builder of images keeps what it has downloaded. apt writes a colon so.
	file := filepath.Join(cache, "skerry/downloads/cache/apt/archives", p.Name+"_"+strings.ReplaceAll(p.Version, ":", "%3a")+"_"+p.Arch+".deb")
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%w: remove what the builder of images has cached, so that it downloads the kernel again", err)
	}
	unpacked := to + ".deb"
	if err := onHost(ctx, "dpkg-deb", "--extract", file, unpacked); err != nil {
		return err
	}
	below := filepath.Join("usr/lib/modules", manifest.Kernel, "kernel", driversOf)
	target := filepath.Join(to, below)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return errors.Join(os.Rename(filepath.Join(unpacked, below), target), os.RemoveAll(unpacked))
}
