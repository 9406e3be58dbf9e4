// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"os/exec"
	"regexp"
	"strconv"
	"sync"
)

// A kernel changes its own code while it runs by putting breakpoints (int3) in the way of other processors, which it takes
// away again. QEMU before 8.1 does not lock a page of code while it translates it, so that with a thread for each emulated
// processor it may keep a translation that has the breakpoint in it after the kernel took it away. When that is run, the
// kernel knows of no breakpoint there: "Oops: int3", and a panic. The machine reboots, as it does after any panic, and
// must then be as healthy as after a power cut.
var (
	staleBreakpoint = regexp.MustCompile(`\bOops: int3: `)
	// panicOver is what ends the kernel's words about it, or what the firmware says next.
	panicOver = regexp.MustCompile(`end Kernel panic|Rebooting in \d+ seconds|BdsDxe: `)
)

// qemuVersion is the major and minor version of QEMU, 0 and 0 if it can't be told.
var qemuVersion = sync.OnceValues(func() (major, minor int) {
	said, err := exec.Command(amd64.qemu, "--version").Output()
	if err != nil {
		return 0, 0
	}
	m := regexp.MustCompile(`version (\d+)\.(\d+)`).FindSubmatch(said)
	if m == nil {
		return 0, 0
	}
	major, _ = strconv.Atoi(string(m[1]))
	minor, _ = strconv.Atoi(string(m[2]))
	return major, minor
})

// HasStaleBreakpoints reports whether guests here may run breakpoints that their kernel took away.
func HasStaleBreakpoints() bool {
	major, minor := qemuVersion()
	return Accelerator() == tcg && (major < 8 || major == 8 && minor == 0)
}

// WithoutStaleBreakpoints returns a boot's lines without what the kernel said when it ran a breakpoint that it had taken
// away, and how often it did. One after which the machine neither reboots nor is off, as over says, is left as it is.
func WithoutStaleBreakpoints(lines []Line, over bool) (rest []Line, count int) {
	var said []Line // since the breakpoint
	for _, line := range lines {
		switch {
		case len(said) == 0 && !staleBreakpoint.MatchString(line.Text):
			rest = append(rest, line)
		case len(said) > 0 && panicOver.MatchString(line.Text):
			said = nil
			count++
		default:
			said = append(said, line)
		}
	}
	if over && len(said) > 0 {
		return rest, count + 1
	}
	return append(rest, said...), count
}
