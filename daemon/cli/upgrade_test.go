// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/slot"
	"github.com/skerry-os/skerry/daemon/upgrade"
)

func TestUpgradeExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		command.ExitOK:      nil,
		command.ExitBusy:    fmt.Errorf("x: %w", upgrade.ErrBusy),
		command.ExitRefused: fmt.Errorf("x: %w", upgrade.ErrUnsigned),
		command.ExitFailed:  errors.New("no network"),
	} {
		if got := command.ExitCode(failedUpgrade(err)); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
	if got := command.ExitCode(failedUpgrade(fmt.Errorf("x: %w", &upgrade.RefusedError{Reason: "y"}))); got != command.ExitRefused {
		t.Errorf("refused: got %d", got)
	}
}

func TestUpgradeText(t *testing.T) {
	left := 2
	text := upgradeText(&upgrade.State{
		Slots: &slot.Slots{Version: "1.0.0", All: []slot.Slot{
			{Version: "1.0.0", State: slot.Proven, Running: true, Root: slot.Partition{Path: "/dev/vda2"}},
			{Version: "1.1.0", State: slot.Trial, Root: slot.Partition{Path: "/dev/vda4"}, UKI: &slot.UKI{Left: &left}},
		}},
		Record: upgrade.Record{Last: &upgrade.Outcome{Version: "0.9.0", From: "1.0.0", Result: upgrade.FellBack, Reason: "no kubelet"}},
		News:   "1.1.0 is installed",
	})
	for _, want := range []string{"Now           1.1.0 is installed\n", "0.9.0 fell back to 1.0.0: no kubelet", "/dev/vda2  1.0.0    proven                 runs\n", "/dev/vda4  1.1.0    trial   2              \n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// TestProgressPrinter prints little, however often it is told.
func TestProgressPrinter(t *testing.T) {
	var out bytes.Buffer
	tell := progressPrinter(&out)
	tell(upgrade.Progress{Step: "verify the manifest"})
	for i := range int64(1001) {
		tell(upgrade.Progress{Step: "fetch", Done: i << 20, Total: 1000 << 20})
	}
	tell(upgrade.Progress{Step: "write"})
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 12 || lines[0] != "verify the manifest" || lines[10] != "fetch: 1000.0 MiB of 1000.0 MiB" {
		t.Errorf("it prints %q", lines)
	}
}

// TestUpgradeSources: each command that takes a source teaches all of them.
func TestUpgradeSources(t *testing.T) {
	for _, cmd := range []*cobra.Command{upgradeCommand(), upgradeCheckCommand(), upgradeApplyCommand()} {
		for _, want := range []string{"https://HOST", "oci://HOST", "disk:[LABEL]", "SKERRY-NEXT", "tar archive"} {
			if !strings.Contains(cmd.Long, want) {
				t.Errorf("the help of %s doesn't tell of %q", cmd.Name(), want)
			}
		}
	}
}

// TestRegistryCredentials: those of upgrades are those of pods' images, and a secret that is a reference is read.
func TestRegistryCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	merged := func(text string) *configschema.Merged {
		m, problems := configschema.MergeLayers([]configschema.Layer{{Name: "user-data", File: "user-data", Data: []byte("#cloud-config\n" + text)}})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return m
	}
	ask := registryCredentials(merged("skerry: {registries: {configs: {e.org: {auth: {username: u, password: {file: " + file + "}}}}}}\n"))
	for host, want := range map[string]string{"e.org": "u hunter2", "other.org": " "} {
		if user, secret, err := ask(host); err != nil || user+" "+secret != want {
			t.Errorf("%s: got %q, %q, %v", host, user, secret, err)
		}
	}
	if user, secret, err := registryCredentials(merged("hostname: a\n"))("e.org"); err != nil || user+secret != "" {
		t.Errorf("without registries: got %q, %q, %v", user, secret, err)
	}
	absent := registryCredentials(merged("skerry: {registries: {configs: {e.org: {auth: {username: u, password: {file: /nowhere}}}}}}\n"))
	if _, _, err := absent("e.org"); err == nil || !strings.Contains(err.Error(), "credentials of registries") {
		t.Errorf("a secret that isn't there: %v", err)
	}
}
