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

func (r Report) printJoin(t io.Writer) {
	fmt.Fprintf(t, "\nJOIN, natively\tseconds from the node process's start to Ready\n")
	for i, took := range r.Join {
		fmt.Fprintf(t, "agent %d\t%.1f\n", i+1, took)
	}
}

func (r Report) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
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
	fmt.Fprintf(t, "\nours to upstream's\tours\tupstream's\tratio\n")
	for _, ratio := range r.Ratios {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.2f\n", ratio.Name, ratio.Ours, ratio.Theirs, ratio.Ratio)
	}
	return t.Flush()
}
