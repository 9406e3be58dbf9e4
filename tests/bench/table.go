// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

const mib = 1 << 20

// smallest is the PSS in KiB below which processes are summed up in the table; the JSON has all.
const smallest = 2048

// aligned prints tables, whose cells end with tabs.
func aligned(out io.Writer, print func(io.Writer)) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	print(t)
	return t.Flush()
}

func (r Report) printJoin(t io.Writer) {
	fmt.Fprintf(t, "\nJOIN, natively\tseconds from the node process's start to Ready\n")
	for i, took := range r.Join {
		fmt.Fprintf(t, "agent %d\t%.1f\n", i+1, took)
	}
}

func (r Report) printStores(t io.Writer) {
	if len(r.Stores) == 0 {
		return
	}
	theirs := r.Stores[0]
	fmt.Fprintf(t, "\nDATASTORES, natively\tper second\tp50 ms\tp99 ms\tto upstream's rate\n")
	for _, part := range []struct {
		name string
		of   func(StoreReport) Rate
	}{
		{"creates", func(s StoreReport) Rate { return s.Creates }},
		{"updates", func(s StoreReport) Rate { return s.Updates }},
		{fmt.Sprintf("lists of %d", pageSize), func(s StoreReport) Rate { return s.Lists }},
		{"events", func(s StoreReport) Rate { return s.Watch }},
	} {
		for _, s := range r.Stores {
			rate := part.of(s)
			fmt.Fprintf(t, "%s, %s\t%.0f\t%.1f\t%.1f\t%.2f\n", part.name, s.Name, rate.PerSecond, rate.P50, rate.P99, rate.PerSecond/part.of(theirs).PerSecond)
		}
	}
	fmt.Fprintf(t, "\nwith %d objects\tMiB PSS\tof a database\t\tto upstream's\n", Objects)
	for _, s := range r.Stores {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t\t%.2f\n", s.Name, s.Memory, s.Database, s.Memory/theirs.Memory)
	}
	fmt.Fprintf(t, "\nSQLite under the leases of %d nodes\tMiB\tof log\n", growthNodes)
	for _, g := range r.Growth {
		fmt.Fprintf(t, "after %d hours\t%.1f\t%.1f\n", g.Hours, float64(g.Database)/mib, float64(g.Log)/mib)
	}
}

func (r Report) print(t io.Writer) {
	fmt.Fprintf(t, "\ncommit %s, %s, guests run by %s\n", r.Commit, r.Image, r.Accelerator)
	fmt.Fprintf(t, "\nSIZE\tMiB\n")
	fmt.Fprintf(t, "image, raw\t%.1f\n", float64(r.Size.Raw)/mib)
	fmt.Fprintf(t, "image, compressed\t%.1f\n", float64(r.Size.Compressed)/mib)
	for _, part := range slices.Sorted(maps.Keys(r.Size.Parts)) {
		fmt.Fprintf(t, "  %s\t%.1f\n", part, float64(r.Size.Parts[part])/mib)
	}
	fmt.Fprintf(t, "\nCONFIG\tmilliseconds\n")
	fmt.Fprintf(t, "validate %d lines (at most %d)\t%.0f\n", r.Validate.Lines, validatePromise, r.Validate.Milliseconds)
	r.printJoin(t)
	r.printStores(t)
	for _, m := range r.Machines {
		fmt.Fprintf(t, "\n%s (%d CPUs, %d MiB)\tseconds since power-on\n", m.Role, m.CPUs, m.Memory)
		for _, s := range m.Boot {
			fmt.Fprintf(t, "%s\t%.1f\n", s.Name, s.Seconds)
		}
		fmt.Fprintf(t, "\n%s, idle after %.0f s\t\n", m.Role, m.Idle.AfterSeconds)
		fmt.Fprintf(t, "memory in use\t%.1f MiB of %.1f\n", float64(m.Idle.MemUsed)/1024, float64(m.Idle.MemTotal)/1024)
		fmt.Fprintf(t, "CPU\t%.1f %%\n", m.Idle.CPUPercent)
		var rest int64
		count := 0
		for _, p := range m.Idle.Processes {
			if p.PSS < smallest {
				rest += p.PSS
				count++
				continue
			}
			fmt.Fprintf(t, "  %s\t%.1f MiB PSS\n", p.Name, float64(p.PSS)/1024)
		}
		fmt.Fprintf(t, "  %d smaller ones\t%.1f MiB PSS\n", count, float64(rest)/1024)
	}
	r.Lifecycle.print(t)
	fmt.Fprintf(t, "\nours to upstream's\tours\tupstream's\tratio\n")
	for _, ratio := range r.Ratios {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.2f\n", ratio.Name, ratio.Ours, ratio.Theirs, ratio.Ratio)
	}
}
