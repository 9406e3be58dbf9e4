// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/ociregistry"
	"github.com/skerry-os/skerry/tests/vm"
)

const (
	ociRegistry  = "registry.lab.example"
	ociUser      = "robot"
	ociPassword  = "password-of-the-robot"
	ociAuthority = "/etc/rancher/k3s/registry-ca.crt"
)

// upgradeOCIConfig has the registry's credentials and authority where those for images are.
const upgradeOCIConfig = upgradeServerConfig + `  registries:
    configs:
      ` + ociRegistry + `:
        auth: {username: ` + ociUser + `, password: ` + ociPassword + `}
        tls: {ca_file: ` + ociAuthority + `}
`

var upgradeOCI = Scenario{
	Name:  "upgrade-oci",
	Suite: SuiteAll,
	Shows: "the next version comes from an OCI registry that wants a token and has a certificate of its own authority, over connections that break; " +
		"`skerry upgrade check` finds it on a USB stick and a disc by their labels too, and leaves none mounted; it boots on trial and is blessed",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		blobs := filepath.Join(u.dir, "registry")
		if err := os.Mkdir(blobs, 0o755); err != nil {
			return err
		}
		registry := ociregistry.New(blobs)
		certificate, ca, err := newCertificate(ociRegistry)
		if err != nil {
			return err
		}
		if err := t.lab.ServeTLS(registry, certificate, []netip.Addr{netip.MustParseAddr("192.168.127.251")}, ociRegistry); err != nil {
			return err
		}
		userData, err := u.ociConfig(string(ca))
		if err != nil {
			return err
		}
		var m *vm.Machine
		var c *vm.Cluster
		return t.Steps(
			step{"build the next version, and publish it", func() error {
				if err := u.build(ctx, "good"); err != nil {
					return err
				}
				return u.publish(ctx, registry, "good")
			}},
			step{"boot " + serverName + " with a stick and a disc until its node is Ready", func() error {
				disks, err := u.disks("good")
				if err != nil {
					return err
				}
				m, c, err = u.boot(ctx, vm.MachineConfig{UserData: userData, Disks: disks})
				return err
			}},
			step{"skerry upgrade check finds it in the registry, and on both", func() error {
				for source, shows := range map[string]string{
					"": `"versions": [`, "oci://" + ociRegistry + "/skerry:stable": "@sha256:", "disk:": "disk:SKERRY-NEXT", "disk:LAB-DISC/payload": "disk:LAB-DISC/payload",
				} {
					out, err := m.Run(ctx, "sudo skerry upgrade check -o json "+source)
					if err != nil {
						return err
					}
					if !strings.Contains(out, `"version": "`+payloadVersion+`"`) || !strings.Contains(out, shows) {
						return fmt.Errorf("of %q it says %q, want %q in it", source, out, shows)
					}
				}
				if err := mustFail(ctx, m, "sudo skerry upgrade check oci://"+ociRegistry+"/skerry:9.9.9"); err != nil {
					return err
				}
				return mustFail(ctx, m, "lsblk --noheadings --output=MOUNTPOINTS /dev/disk/by-label/SKERRY-NEXT /dev/disk/by-label/LAB-DISC | grep -q /")
			}},
			step{"skerry upgrade apply writes it to the other slot, though connections break", func() error {
				registry.Cuts, registry.CutsAbove = 3, 1<<20
				began := time.Now()
				out, err := m.Run(ctx, "sudo skerry upgrade apply")
				if err != nil {
					return err
				}
				t.Note("it took %s", seconds(time.Since(began)))
				if registry.Cuts > 0 || !slices.ContainsFunc(registry.Requests(), func(r string) bool { return strings.Contains(r, " bytes=") }) {
					return fmt.Errorf("%d connections were not cut, and it asked for %q; it says %q", registry.Cuts, registry.Requests(), out)
				}
				return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" trial")
			}},
			step{"the password is nowhere in the journal", func() error {
				return mustFail(ctx, m, "sudo journalctl --output=cat | grep -q "+ociPassword)
			}},
			step{"the next boot is of it, its node is Ready, and it is blessed", func() error {
				if err := u.proves(ctx, m, payloadVersion, "blessed"); err != nil {
					return err
				}
				return c.AreReady(ctx, serverName)
			}},
		)
	},
}

func (u *upgrades) ociConfig(authority string) ([]byte, error) {
	text := upgradeOCIConfig + "  upgrade:\n    source: oci://" + ociRegistry + "/skerry\n    keys: [" + u.trust + "]\n    trial: " + patientTrial + "\n"
	return vm.Override([]byte(text), vm.Overrides{Hostname: serverName, AuthorizedKey: u.t.lab.AuthorizedKey(),
		Files: map[string]string{ociAuthority: authority}})
}

// publish pushes a payload as `make payload-push` does, over this machine's loopback, and closes the registry for those who
// have no token.
func (u *upgrades) publish(ctx context.Context, registry *ociregistry.Registry, name string) error {
	server := httptest.NewServer(registry)
	defer server.Close()
	args := []string{"run", "./image/build", "-payload", filepath.Join(u.dir, name), "-push", "oci://" + server.Listener.Addr().String() + "/skerry:stable"}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	registry.User, registry.Password, registry.Tokens = ociUser, ociPassword, true
	return nil
}

// disks are a stick and a disc with what `check` reads of a payload.
func (u *upgrades) disks(name string) ([]string, error) {
	onStick, onDisc := map[string][]byte{}, map[string][]byte{}
	for _, file := range []string{"manifest.json", "manifest.json.minisig"} {
		data, err := os.ReadFile(filepath.Join(u.dir, name, file))
		if err != nil {
			return nil, err
		}
		onStick[file], onDisc["payload/"+file] = data, data
	}
	stick, err := u.t.lab.Volume("stick", "SKERRY-NEXT", onStick)
	if err != nil {
		return nil, err
	}
	disc, err := u.t.lab.Disc("disc", "LAB-DISC", onDisc)
	return []string{stick, disc}, err
}
