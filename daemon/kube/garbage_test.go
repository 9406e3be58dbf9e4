// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestSettledGCPercent(t *testing.T) {
	for memory, want := range map[uint64]int{0: 25, 1 << 30: 25, 4<<30 - 1: 25, 4 << 30: 50, 8 << 30: 50, 16 << 30: 100} {
		if got := settledGCPercent(memory); got != want {
			t.Errorf("%d bytes: got %d, want %d", memory, got, want)
		}
	}
	if total, err := totalMemory(); err != nil || total < 64<<20 {
		t.Errorf("this machine: %d bytes, %v", total, err)
	}
}
