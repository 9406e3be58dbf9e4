// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"testing"
)

func TestWithoutStaleBreakpoints(t *testing.T) {
	var lines []Line
	for _, text := range []string{
		"[    5.2] before",
		"[    5.260667] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI",
		"[    5.261757] RIP: 0010:sched_clock_cpu+0x9/0x1d0",
		"[    5.265948] Oops: int3: 0000 [#2] PREEMPT SMP NOPTI",
		"[    5.266440] Kernel panic - not syncing: Fatal exception in interrupt",
		"[    5.266600] ---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---",
		"[    1.0] again",
		"[    9.0] Oops: 0002 [#1] PREEMPT SMP NOPTI",
	} {
		lines = append(lines, Line{Text: text})
	}
	rest, count := WithoutStaleBreakpoints(lines, false)
	if count != 1 || len(rest) != 3 || rest[1].Text != "[    1.0] again" {
		t.Errorf("%d in %v", count, rest)
	}
	if rest, count := WithoutStaleBreakpoints(lines[:5], false); count != 0 || len(rest) != 5 {
		t.Errorf("without a reboot: %d in %v", count, rest)
	}
	if rest, count := WithoutStaleBreakpoints(lines[:5], true); count != 1 || len(rest) != 1 {
		t.Errorf("the power was cut meanwhile: %d in %v", count, rest)
	}
	if found := Scan(rest); len(found) != 1 || found[0].What != "kernel oops" {
		t.Errorf("an oops that is no breakpoint's: %v", found)
	}
}
