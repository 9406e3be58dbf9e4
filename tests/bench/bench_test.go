// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"

	"github.com/skerry-os/skerry/daemon/datastore/files"
)

func TestReadJournal(t *testing.T) {
	journal := `[    9.120000] server-1 skerry[412]: phase early started
[    9.500000] server-1 skerry[412]: phase early ended (0.4s)
[   31.250000] server-1 skerry[412]: the Kubernetes API is ready
[   40.000000] server-1 skerry[412]: node server-1 (192.168.127.11) is Ready as server
[   90.000000] server-1 skerry[900]: phase early ended (0.1s)
`
	got := readJournal(journal, 2.5)
	want := []Stage{{"config applied", 12}, {"API ready", 33.75}, {"node Ready", 42.5}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}

func TestBusyPercent(t *testing.T) {
	got, err := busyPercent("cpu  100 0 50 800 50 0 0 0 0 0\n", "cpu  110 0 60 960 60 5 5 0 10 0\n")
	if err != nil || math.Abs(got-15) > 1e-9 {
		t.Errorf("got %v, %v; want 15", got, err)
	}
	for _, bad := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu a b c d e f g h", "cpu  100 0 50 800 50 0 0 0 0 0"} {
		if _, err := busyPercent("cpu  100 0 50 800 50 0 0 0 0 0", bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	total, used, err := parseMeminfo("MemTotal:  2000 kB\nMemFree: 100 kB\nMemAvailable: 1500 kB\nHugePages_Total: 0\n")
	if err != nil || total != 2000 || used != 500 {
		t.Errorf("got %d, %d, %v", total, used, err)
	}
	if _, _, err := parseMeminfo("MemTotal: 5 kB\n"); err == nil {
		t.Error("half a meminfo was accepted")
	}
}

func TestParsePSS(t *testing.T) {
	got, err := parsePSS("900 /usr/lib/systemd/systemd --system\n250000 /usr/libexec/skerry/skerry-kube control --config /run/x \n5000 /usr/bin/containerd --config x\n")
	if err != nil || len(got) != 3 || got[0] != (Process{"skerry-kube control", 250000}) || got[2].Name != "systemd" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parsePSS("many kB\n"); err == nil {
		t.Error("nonsense was accepted")
	}
}

func TestMeasureSize(t *testing.T) {
	dir := t.TempDir()
	image, manifest := filepath.Join(dir, "i.raw"), filepath.Join(dir, "manifest.json")
	if err := os.WriteFile(image, bytes.Repeat([]byte("skerry"), 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	size, err := measureSize(image, manifest)
	if err != nil || size.Raw != 600_000 || size.Compressed <= 0 || size.Compressed > 6000 || size.Parts != nil {
		t.Errorf("got %+v, %v", size, err)
	}
	if err := os.WriteFile(manifest, []byte(`{"bytes": {"root": 7}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if size, err = measureSize(image, manifest); err != nil || size.Parts["root"] != 7 {
		t.Errorf("got %+v, %v", size, err)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	report := Report{Commit: "abc", Image: "skerry.raw", Accelerator: "tcg", Size: Size{Raw: 3 * mib}, Stores: []StoreReport{
		{Name: upstreamName, Load: Load{Creates: Rate{PerSecond: 400, P50: 1, P99: 9}}, Memory: 500},
		{Name: "postgres", Load: Load{Creates: Rate{PerSecond: 300, P50: 2, P99: 11.5}}, Memory: 400, Database: 77},
	}, Growth: []Growth{{Hours: 24, Size: files.Size{Database: 11 * mib, Log: 4 * mib}}}, Machines: []MachineReport{{
		Role: "server", CPUs: 2, Memory: 2048, Boot: []Stage{{"kernel", 3.21}},
		Idle: Idle{AfterSeconds: 120, MemTotal: 2048 * 1024, MemUsed: 512 * 1024, CPUPercent: 4.5,
			Processes: []Process{{"skerry-kube control", 300 * 1024}, {"sshd", 1024}, {"agetty", 512}}},
	}}}
	if err := aligned(&out, report.print); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"commit abc", "3.0", "kernel", "3.2", "512.0 MiB of 2048.0", "4.5 %", "skerry-kube control", "2 smaller ones",
		"creates, postgres", "11.5", "0.75", "400", "77", "0.80", "after 24 hours"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
}

func TestCompare(t *testing.T) {
	ours := MachineReport{
		Boot: []Stage{{seenReady, 30}},
		Idle: Idle{MemUsed: 512 << 10, CPUPercent: 1, Processes: []Process{{"skerry-kube control", 200 << 10}, {"containerd", 50 << 10}}},
	}
	theirs := MachineReport{
		Boot: []Stage{{seenReady, 60}},
		Idle: Idle{MemUsed: 1024 << 10, CPUPercent: 4, Processes: []Process{{"kube-apiserver", 300 << 10}, {"etcd", 100 << 10}, {"containerd", 50 << 10}}},
	}
	want := []float64{0.5, 0.5, 0.25, 0.5}
	got := compare(ours, theirs)
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, r := range got {
		if r.Ratio != want[i] {
			t.Errorf("%s: %g to %g is %g, want %g", r.Name, r.Ours, r.Theirs, r.Ratio, want[i])
		}
	}
}

func TestLongConfig(t *testing.T) {
	config := longConfig(validateLines)
	if n := bytes.Count(config, []byte("\n")); n < validateLines || n > validateLines+10 {
		t.Errorf("it has %d lines", n)
	}
	if _, problems := configschema.Parse("user-data", config); len(problems) > 0 {
		t.Errorf("it is not valid: %v", problems[0])
	}
}

func TestMeasureValidate(t *testing.T) {
	for program, want := range map[string]bool{"true": true, "false": false} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		got, err := measureValidate(t.Context(), path, t.TempDir())
		if (err == nil) != want || want && (got.Milliseconds <= 0 || got.Lines < validateLines) {
			t.Errorf("%s: got %v, %v", program, got, err)
		}
	}
}

func TestRate(t *testing.T) {
	var took []time.Duration
	for ms := range 100 {
		took = append(took, time.Duration(100-ms)*time.Millisecond)
	}
	if got, want := rate(took, 2*time.Second), (Rate{PerSecond: 50, P50: 50, P99: 99}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRepeatEndsWithTheFirstError(t *testing.T) {
	failed := errors.New("failed")
	_, err := repeat(t.Context(), 1000, func(_ context.Context, i int) error {
		if i == 50 {
			return failed
		}
		return nil
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	did, err := repeat(t.Context(), 1000, func(context.Context, int) error { return nil })
	if err != nil || did.PerSecond <= 0 {
		t.Errorf("got %+v, %v", did, err)
	}
}
