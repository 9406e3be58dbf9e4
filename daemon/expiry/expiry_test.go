// SPDX-License-Identifier: Apache-2.0

package expiry

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/metrics"

	"github.com/skerry-os/skerry/daemon/pki"
)

const day = 24 * time.Hour

func certificates(t *testing.T, age time.Duration) (dataDir string) {
	t.Helper()
	dataDir = t.TempDir()
	now := func() time.Time { return time.Now().Add(-age) }
	if _, err := pki.Ensure(filepath.Join(dataDir, "server"), pki.Options{NodeName: "server-1", Now: now}); err != nil {
		t.Fatal(err)
	}
	return dataDir
}

func TestCollector(t *testing.T) {
	dataDir := certificates(t, 0)
	now := time.Now()
	log := slog.New(slog.DiscardHandler)
	measure := func(part string) map[string]float64 {
		t.Helper()
		registry := metrics.NewKubeRegistry()
		registry.CustomMustRegister(&collector{dataDir: dataDir, part: part, now: func() time.Time { return now }, log: log})
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		seconds := map[string]float64{}
		for _, family := range families {
			for _, m := range family.Metric {
				seconds[m.Label[0].GetValue()] = m.Gauge.GetValue()
			}
		}
		return seconds
	}
	got := measure("server")
	if n := len(got); n != 14 {
		t.Errorf("%d certificates are measured, want 11 and 3 authorities: %v", n, got)
	}
	for file, lifetime := range map[string]time.Duration{"tls/client-admin.crt": 365 * day, "tls/server-ca.crt": 3650 * day} {
		if left := time.Duration(got[file]) * time.Second; left > lifetime || left < lifetime-time.Hour {
			t.Errorf("%s is valid for %s, want about %s", file, left, lifetime)
		}
	}
	if got := measure("agent"); len(got) != 0 {
		t.Errorf("an agent that is not there has %v", got)
	}
}

func TestWarn(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, tt := range []struct {
		name   string
		age    time.Duration
		events int
		says   string
	}{
		{"new", 0, 0, ""},
		{"not renewed", 246 * day, 11, "CertificateExpirationWarning"},
		{"expired", 366 * day, 11, "expired, on "},
		{"authorities ending", 9*365*day + day, 14, "CACertificateExpirationWarning"},
	} {
		var all []string
		for _, w := range look(certificates(t, tt.age), time.Now(), log) {
			all = append(all, w.reason+" "+w.message)
		}
		if len(all) != tt.events || !strings.Contains(strings.Join(all, "\n"), tt.says) {
			t.Errorf("%s: %d Events, want %d with %q:\n%s", tt.name, len(all), tt.events, tt.says, strings.Join(all, "\n"))
		}
	}

	dataDir := certificates(t, 0)
	if err := os.WriteFile(filepath.Join(dataDir, "server/tls/client-admin.crt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if all := look(dataDir, time.Now(), log); len(all) == 0 || !strings.Contains(all[0].message, "client-admin.crt is damaged") {
		t.Errorf("a damaged file makes the warnings %q", all)
	}
}
