// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// startGCPercent lets the heap grow to four times what is in use while a process starts: a sixth of the processor
	// time of a control plane's start went into collecting garbage from a heap that only grows.
	startGCPercent = 300
	// startMemory in bytes is the least memory of a machine that has room for that.
	startMemory = 1500 << 20
	// settleAfter is how long after it is ready a process still has much to do: caches fill, add-ons are applied.
	settleAfter = time.Minute
)

// hurry collects less garbage until the process has settled, where the machine has the memory for it.
func hurry(log *slog.Logger) {
	total, err := totalMemory()
	if err != nil {
		log.Warn("garbage is collected as if the machine were small", "error", err)
	}
	if total >= startMemory {
		setGCPercent(startGCPercent)
	}
}

// settle gives back what starting has taken: on a small machine the garbage of the start is more than all pods together
// need. An error has been told by hurry.
func settle() {
	total, _ := totalMemory()
	setGCPercent(settledGCPercent(total))
	debug.FreeOSMemory()
}

// settledGCPercent is by how much the heap of a process may grow before garbage is collected, on a machine with a memory in
// bytes. Once a process runs, little garbage is made; it is a small machine's pods that miss the memory, and a large one's
// control plane that has more to do.
func settledGCPercent(memory uint64) int {
	switch {
	case memory < 4<<30:
		return 25
	case memory < 16<<30:
		return 50
	default:
		return 100 // Go's own
	}
}

func totalMemory() (bytes uint64, err error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("read how much memory the machine has: %w", err)
	}
	return info.Totalram * uint64(info.Unit), nil
}

// setGCPercent does nothing where GOGC says that the user knows better.
func setGCPercent(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
