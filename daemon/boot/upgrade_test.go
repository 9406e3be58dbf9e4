// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/slot"
	"github.com/skerry-os/skerry/daemon/upgrade"
)

// TestSettleUpgrade: a version that was left is told of on the console and in the status, and one that is blessed is no news.
func TestSettleUpgrade(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var console bytes.Buffer
	log := slog.New(slog.NewTextHandler(&console, nil))
	b := &Boot{Log: log, Upgrades: &upgrade.Upgrader{Root: root, Slots: slot.Reader{Root: root}, Log: log, Now: time.Now}}
	if s := b.upgradeStatus(); s != nil {
		t.Errorf("without an upgrade the status has %+v", s)
	}
	old, next := strings.Repeat("a", 64), strings.Repeat("b", 64)
	write("/proc/cmdline", "roothash="+old)
	write("/efi/EFI/Linux/skerry_1.efi", "")
	write(upgrade.RecordFile, `{"trial": {"version": "2", "from": "1", "roothash": "`+next+`"}}`)
	b.settleUpgrade(t.Context())
	if s := b.upgradeStatus(); s == nil || s.Now != "" || !strings.Contains(s.Last, "2 interrupted: ") {
		t.Errorf("the status has %+v", s)
	}
	if !strings.Contains(console.String(), "upgrade: 2 interrupted") {
		t.Errorf("the console has %s", console.String())
	}
	write(upgrade.RecordFile, `{"trial": {"version": "2", "from": "1", "roothash": "`+old+`"}, "tomorrow": 1}`)
	if s := b.upgradeStatus(); s == nil || s.Now != "2 is on trial" {
		t.Errorf("the status has %+v", s)
	}
	write(upgrade.RecordFile, `{"last": {"version": "2", "result": "blessed"}}`)
	if s := b.upgradeStatus(); s != nil {
		t.Errorf("the status has %+v", s)
	}
	write(upgrade.RecordFile, `{`)
	if s := b.upgradeStatus(); s == nil || !strings.Contains(s.Now, "not known") {
		t.Errorf("the status has %+v", s)
	}
}
