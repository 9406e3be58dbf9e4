// SPDX-License-Identifier: Apache-2.0

package nodeupgrade

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is one that answers with what the files check, apply and status print, and ends with what is in their .code.
func program(t *testing.T, files map[string]string) *Program {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
cd "` + dir + `" || exit 99
echo "$@" >> asked
if [ -e "$2.busy" ]; then rm "$2.busy"; echo "skerry: another upgrade is under way on this machine" >&2; exit 4; fi
if [ -e "$2.refused" ]; then cat "$2.refused" >&2; exit 6; fi
[ -e "$2" ] && cat "$2"
exit 0
`
	files["skerry"] = script
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil { //nolint:gosec // it is executed
			t.Fatal(err)
		}
	}
	return &Program{Path: filepath.Join(dir, "skerry"), Reboots: []string{"true"}, Pause: time.Millisecond}
}

func TestProgramStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		json string
		want Status
	}{
		"nothing":          {`{"version":"0.1.0","slots":[]}`, Status{Running: older}},
		"waits for a boot": {`{"version":"0.1.0","trial":{"version":"0.2.0","installed":true}}`, Status{Running: older}},
		"on trial":         {`{"version":"0.2.0","trial":{"version":"0.2.0","installed":true}}`, Status{Running: newer, OnTrial: true}},
		"blessed":          {`{"version":"0.2.0","last":{"version":"0.2.0","result":"blessed"}}`, Status{Running: newer}},
		"fell back":        {`{"version":"0.1.0","last":{"version":"0.2.0","result":"fell back","reason":"why"}}`, Status{Running: older, GaveUp: newer, Reason: "why"}},
		"gives up":         {`{"version":"0.1.0","trial":{"version":"0.2.0","failure":"why"}}`, Status{Running: older, GaveUp: newer, Reason: "why"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := program(t, map[string]string{"status": tt.json}).Status(t.Context())
			if err != nil || got != tt.want {
				t.Errorf("Status: %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	for _, text := range []string{"", "{}", "no JSON"} {
		if got, err := program(t, map[string]string{"status": text}).Status(t.Context()); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

func TestProgramCheck(t *testing.T) {
	p := program(t, map[string]string{"check": `{"running":"0.1.0","version":"0.2.0","newer":true,"kubernetes":"v1.38.0"}`})
	if got, err := p.Check(t.Context(), "https://x/"); err != nil || got != (Offer{Version: newer, Kubernetes: "v1.38.0"}) {
		t.Errorf("Check: %+v, %v", got, err)
	}
	p = program(t, map[string]string{"check": `{"running":"0.2.0","version":"0.1.0"}`})
	if _, err := p.Check(t.Context(), "https://x/"); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("an older version: %v", err)
	}
	p = program(t, map[string]string{"check.refused": "skerry: the payload is not signed by a key that this machine trusts\n"})
	if _, err := p.Check(t.Context(), "https://x/"); err == nil || err.Error() != "the payload is not signed by a key that this machine trusts" {
		t.Errorf("an unsigned payload: %v", err)
	}
}

func TestProgramApply(t *testing.T) {
	const offered = `{"running":"0.1.0","version":"0.2.0","newer":true}`
	const installed = `{"version":"0.1.0","trial":{"version":"0.2.0","installed":true}}`
	for name, tt := range map[string]struct {
		files   map[string]string
		refused string
		applies int
	}{
		"applies":          {files: map[string]string{"check": offered, "status": installed}, applies: 1},
		"waits":            {files: map[string]string{"check": offered, "status": installed, "apply.busy": ""}, applies: 2},
		"is there already": {files: map[string]string{"check": `{"version":"0.2.0","installed":true}`}},
		"another version":  {files: map[string]string{"check": `{"version":"0.3.0","newer":true}`}, refused: "0.3.0 now"},
		"refused":          {files: map[string]string{"check": offered, "apply.refused": "skerry: no space"}, refused: "no space", applies: 1},
		"changed meanwhile": {
			files:   map[string]string{"check": offered, "status": `{"version":"0.1.0","trial":{"version":"0.3.0","installed":true}}`},
			refused: "is not what the next boot tries", applies: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, tt.files)
			err := p.Apply(t.Context(), "https://x/", newer)
			if tt.refused == "" && err != nil || tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)) {
				t.Errorf("Apply: %v, want %q", err, tt.refused)
			}
			asked, err := os.ReadFile(filepath.Join(filepath.Dir(p.Path), "asked"))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(asked), "upgrade apply https://x/\n"); n != tt.applies {
				t.Errorf("it applied %d times, want %d: %s", n, tt.applies, asked)
			}
		})
	}
}
