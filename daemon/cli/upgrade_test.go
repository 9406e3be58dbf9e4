// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

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
