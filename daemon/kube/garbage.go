// SPDX-License-Identifier: Apache-2.0

package main

import (
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
	// settledGCPercent lets the heap grow by half before garbage is collected; Go's own 100 lets it double. Once it
	// runs, little garbage is made.
	settledGCPercent = 50
)

// hurry collects less garbage until the process has settled, where the machine has the memory for it.
func hurry(log *slog.Logger) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		log.Warn("the machine's memory is not known", "error", err)
		return
	}
	if info.Totalram*uint64(info.Unit) >= startMemory {
		setGCPercent(startGCPercent)
	}
}

// settle gives back what starting has taken: on a small machine the garbage of the start is more than all pods together
// need.
func settle() {
	setGCPercent(settledGCPercent)
	debug.FreeOSMemory()
}

// setGCPercent does nothing where GOGC says that the user knows better.
func setGCPercent(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
