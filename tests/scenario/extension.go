// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"aead.dev/minisign"

	"github.com/skerry-os/skerry/tests/vm"
)

// extensionRows are those of the cloud-config. The first is as it should be.
const extensionRows = `
  extensions:
    - {name: tool, url: ` + payloadURL + `tool.raw}
    - {name: stranger, url: ` + payloadURL + `stranger.raw}
    - {name: other-version, url: ` + payloadURL + `other-version.raw}
`

var extension = Scenario{
	Name:  "extension",
	Suite: SuiteAll,
	Shows: "a signed extension is fetched and laid over /usr; one of a stranger's, one for another version and a plain folder are refused in words; it is there without its server, gone when the cloud-config no longer has it, and an upgrade that doesn't fit it is refused",
	// What is put into /var/lib/extensions stays.
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		signer, err := newExtensionSigner(filepath.Join(t.Build, "payloads", t.name+"-signer"))
		if err != nil {
			return err
		}
		config := func(rows string) ([]byte, error) {
			base, err := u.config(upgradeServerConfig+strings.TrimPrefix(rows, "\n"), patientTrial)
			if err != nil {
				return nil, err
			}
			return vm.Override(base, vm.Overrides{Files: map[string]string{"/etc/verity.d/lab.crt": signer.certificate}})
		}
		var m *vm.Machine
		runsTool := func() error { return outputHas(ctx, m, "lab-tool", "the tool of the lab runs") }
		return t.Steps(
			step{"build the extensions", func() error { return signer.buildAll(ctx, u) }},
			step{"boot " + serverName + " with them until its node is Ready", func() (err error) {
				userData, err := config(extensionRows)
				if err == nil {
					m, _, err = u.boot(ctx, vm.MachineConfig{UserData: userData})
				}
				return err
			}},
			step{"the tool runs, and the firmware is there", func() error {
				return errors.Join(runsTool(), outputHas(ctx, m, "cat /usr/lib/firmware/lab/card.bin", "firmware of the lab"))
			}},
			step{"the others are refused in words, in the status and on the console", func() error {
				if _, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(`extension stranger: refused: it is signed by the certificate`)); err != nil {
					return err
				}
				return extensionsAre(ctx, m, "tool 1.0 merged",
					"stranger  refused it is signed by the certificate .*, and trusted is [0-9a-f]+… \\(/etc/verity.d/lab.crt\\)",
					"other-version  refused it is for Skerry 9.9.9, and this is "+regexp.QuoteMeta(u.from))
			}},
			step{"an upgrade that doesn't fit is refused before anything is written, and done when that is wanted", func() error {
				return u.refusesMisfit(ctx, m)
			}},
			step{"without its server, and with a plain folder beside it, the tool is there after a boot and the folder isn't merged", func() error {
				if err := os.Rename(u.dir, u.dir+"-away"); err != nil {
					return err
				}
				if _, err := m.Run(ctx, "sudo sh -c 'd=/var/lib/extensions/plain/usr; mkdir -p $d/bin $d/lib/extension-release.d && touch $d/bin/plain && "+
					"echo ID=_any > $d/lib/extension-release.d/extension-release.plain'"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, m); err != nil {
					return err
				}
				if err := errors.Join(runsTool(), mustFail(ctx, m, "test -e /usr/bin/plain")); err != nil {
					return err
				}
				return extensionsAre(ctx, m, "tool 1.0 merged", "stranger  failed .*404 Not Found.*", "other-version  failed .*404 Not Found.*",
					"plain  refused it is not in skerry.extensions of the cloud-config.*")
			}},
			step{"what leaves the cloud-config is gone at once, and the node stays Ready", func() error {
				userData, err := config("")
				if err != nil {
					return err
				}
				if _, err := m.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(userData)); err != nil {
					return err
				}
				if err := errors.Join(mustFail(ctx, m, "lab-tool"), mustFail(ctx, m, "mountpoint -q /usr")); err != nil {
					return err
				}
				if err := extensionsAre(ctx, m, "plain  refused it is not in skerry.extensions of the cloud-config.*"); err != nil {
					return err
				}
				return saysReady(ctx, m)
			}},
		)
	},
}

// extensionsAre checks what `skerry extension list` says, and that `skerry status` agrees: name, version, state, and the
// reason as a pattern.
func extensionsAre(ctx context.Context, m *vm.Machine, want ...string) error {
	out, err := m.Run(ctx, "sudo skerry extension list -o json")
	if err != nil {
		return err
	}
	var all []struct{ Name, Version, State, Reason string }
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return fmt.Errorf("skerry extension list says %q: %w", out, err)
	}
	var rows []string
	for _, e := range all {
		rows = append(rows, strings.TrimSpace(strings.Join([]string{e.Name, e.Version, e.State, e.Reason}, " ")))
	}
	if pattern := "^" + strings.Join(want, "\n") + "$"; !regexp.MustCompile(pattern).MatchString(strings.Join(rows, "\n")) {
		return fmt.Errorf("the extensions are %q, want %q", rows, want)
	}
	status, err := m.Run(ctx, "sudo skerry status")
	for _, e := range all {
		if e.State != "merged" && !strings.Contains(status, "extension "+e.Name+": "+e.State) {
			err = errors.Join(err, fmt.Errorf("skerry status doesn't tell of %s: %s", e.Name, status))
		}
	}
	return err
}

// refusesMisfit offers a version whose extensions are others. Of it there is only the manifest.
func (u *upgrades) refusesMisfit(ctx context.Context, m *vm.Machine) error {
	if err := u.writeManifest("misfit", "2"); err != nil {
		return err
	}
	_, err := m.Run(ctx, "sudo skerry upgrade apply "+payloadURL+"misfit")
	var failure *vm.RunError
	if !errors.As(err, &failure) || failure.Status != 6 || !strings.Contains(failure.Stderr, "tool: it is for systems with SYSEXT_LEVEL=1, and Skerry "+payloadVersion+" has 2") {
		return fmt.Errorf("want it refused for the tool, got %w", err)
	}
	if err := u.are(ctx, m, u.from+" proven runs, empty"); err != nil {
		return err
	}
	_, err = m.Run(ctx, "sudo skerry upgrade apply --without-extensions "+payloadURL+"misfit")
	if !errors.As(err, &failure) || failure.Status != 1 || !strings.Contains(failure.Stderr, "skerry.efi.zst") {
		return fmt.Errorf("want it to go on to the files, which aren't there, got %w", err)
	}
	return nil
}

// writeManifest signs a manifest of files that aren't there.
func (u *upgrades) writeManifest(name, level string) error {
	content := map[string]any{"size": 1, "sha256": strings.Repeat("0", 64)}
	file := func(name string) map[string]any {
		return map[string]any{"name": name, "size": 1, "sha256": strings.Repeat("0", 64), "unpacked": content}
	}
	text, err := json.Marshal(map[string]any{"format": 1, "version": payloadVersion, "architecture": "amd64", "kubernetes": "v1.0.0",
		"roothash": strings.Repeat("ab", 32), "sysextLevel": level,
		"files": map[string]any{"root": file("root.erofs.zst"), "verity": file("root.verity.zst"), "uki": file("skerry.efi.zst")}})
	if err != nil {
		return err
	}
	var key minisign.PrivateKey
	secret, err := os.ReadFile(u.key)
	if err == nil {
		err = key.UnmarshalText(secret)
	}
	if err != nil {
		return err
	}
	dir := filepath.Join(u.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644),
		os.WriteFile(filepath.Join(dir, "manifest.json.minisig"), minisign.Sign(key, text), 0o644))
}

// buildAll makes the extensions of extensionRows where they are served.
func (s *extensionSigner) buildAll(ctx context.Context, u *upgrades) error {
	stranger, err := newExtensionSigner(s.dir + "-stranger")
	if err != nil {
		return err
	}
	files := map[string]string{"usr/bin/lab-tool": "#!/bin/sh\necho the tool of the lab runs\n", "usr/lib/firmware/lab/card.bin": "firmware of the lab\n"}
	if err := s.build(ctx, u, "tool", files); err != nil {
		return err
	}
	if err := stranger.build(ctx, u, "stranger", map[string]string{"usr/bin/strange-tool": "#!/bin/sh\n"}); err != nil {
		return err
	}
	return s.build(ctx, u, "other-version", map[string]string{
		"usr/bin/other-tool": "#!/bin/sh\n",
		"usr/lib/extension-release.d/extension-release.other-version": "ID=skerry\nVERSION_ID=9.9.9\n"})
}
