// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// Idle is what a machine uses when nobody asks anything of it.
type Idle struct {
	AfterSeconds float64   `json:"after_seconds"` // between the last thing that happened and the measurement
	MemTotal     int64     `json:"mem_total_kib"`
	MemUsed      int64     `json:"mem_used_kib"` // MemTotal minus MemAvailable
	CPUPercent   float64   `json:"cpu_percent"`  // of all CPUs together, over AfterSeconds
	Processes    []Process `json:"processes"`    // largest first
}

// Process is one process' share of memory.
type Process struct {
	Name string `json:"name"`
	PSS  int64  `json:"pss_kib"` // proportional set size: shared pages count in parts
}

// listPSS prints "KIB COMMAND" for each process that has memory of its own. Kernel threads have none.
const listPSS = `sudo sh -c 'for p in /proc/[0-9]*; do ` +
	`k=$(sed -n "s/^Pss: *\([0-9]*\) kB/\1/p" $p/smaps_rollup 2>/dev/null); ` +
	`[ -n "$k" ] && echo "$k $(tr "\0" " " <$p/cmdline)"; done; true'`

func measureIdle(ctx context.Context, m *vm.Machine, settle time.Duration) (Idle, error) {
	say("leave %s alone for %s", m.Name(), 2*settle)
	if err := pause(ctx, settle); err != nil {
		return Idle{}, err
	}
	meminfo, err := m.Run(ctx, "cat /proc/meminfo")
	if err != nil {
		return Idle{}, err
	}
	before, err := m.Run(ctx, "head -n 1 /proc/stat")
	if err != nil {
		return Idle{}, err
	}
	if err := pause(ctx, settle); err != nil {
		return Idle{}, err
	}
	after, err := m.Run(ctx, "head -n 1 /proc/stat")
	if err != nil {
		return Idle{}, err
	}
	pss, err := m.Run(ctx, listPSS)
	if err != nil {
		return Idle{}, err
	}
	idle := Idle{AfterSeconds: settle.Seconds()}
	if idle.MemTotal, idle.MemUsed, err = parseMeminfo(meminfo); err != nil {
		return Idle{}, err
	}
	if idle.CPUPercent, err = busyPercent(before, after); err != nil {
		return Idle{}, err
	}
	idle.Processes, err = parsePSS(pss)
	return idle, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func parseMeminfo(text string) (total, used int64, err error) {
	values := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			if values[name], err = strconv.ParseInt(fields[0], 10, 64); err != nil {
				return 0, 0, fmt.Errorf("meminfo: %w", err)
			}
		}
	}
	if values["MemTotal"] == 0 || values["MemAvailable"] == 0 {
		return 0, 0, fmt.Errorf("meminfo: no MemTotal or MemAvailable in %q", text)
	}
	return values["MemTotal"], values["MemTotal"] - values["MemAvailable"], nil
}

// busyPercent compares two "cpu" lines of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice.
func busyPercent(before, after string) (float64, error) {
	parse := func(line string) (busy, all float64, err error) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != "cpu" {
			return 0, 0, fmt.Errorf("stat: %q is no line of all CPUs", line)
		}
		for i, f := range fields[1:9] { // guest time is in user time already
			v, err := strconv.ParseFloat(f, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("stat: %w", err)
			}
			all += v
			if i != 3 && i != 4 {
				busy += v
			}
		}
		return busy, all, nil
	}
	busy0, all0, err := parse(before)
	if err != nil {
		return 0, err
	}
	busy1, all1, err := parse(after)
	if err != nil {
		return 0, err
	}
	if all1 <= all0 {
		return 0, fmt.Errorf("stat: no time passed between %q and %q", before, after)
	}
	return 100 * (busy1 - busy0) / (all1 - all0), nil
}

func parsePSS(text string) ([]Process, error) {
	var list []Process
	for line := range strings.Lines(text) {
		kib, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(kib, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("processes: %q: %w", line, err)
		}
		list = append(list, Process{Name: shortCommand(command), PSS: n})
	}
	slices.SortFunc(list, func(a, b Process) int {
		return cmp.Or(cmp.Compare(b.PSS, a.PSS), strings.Compare(a.Name, b.Name))
	})
	return list, nil
}

// shortCommand is the program and, where one program is several, what it was called for: "skerry-kube control".
func shortCommand(command string) string {
	fields := strings.Fields(command)
	if len(fields) == 0 {
		return "?"
	}
	name := fields[0][strings.LastIndex(fields[0], "/")+1:]
	if strings.HasPrefix(name, "skerry") && len(fields) > 1 && !strings.HasPrefix(fields[1], "-") {
		name += " " + fields[1]
	}
	return name
}
