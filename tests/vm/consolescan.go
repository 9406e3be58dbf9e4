// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"
)

// stall is what the kernel calls it when a processor has done nothing for twenty seconds and more.
const stall = "kernel stall"

// trouble is what no console of a healthy machine shows. The order is that of severity; a line is reported once.
var trouble = []struct {
	what string
	re   *regexp.Regexp
}{
	{"kernel panic", regexp.MustCompile(`Kernel panic - not syncing|end Kernel panic`)},
	{"kernel oops", regexp.MustCompile(`\bOops: |: [0-9a-f]{4} \[#\d+\]|general protection fault|unable to handle (kernel|page fault)`)},
	{stall, regexp.MustCompile(`soft lockup|rcu: INFO: .*detected stall`)},
	{"kernel hang", regexp.MustCompile(`hard LOCKUP|blocked for more than \d+ seconds`)},
	{"kernel bug", regexp.MustCompile(`\bBUG: |kernel BUG at `)},
	{"kernel warning", regexp.MustCompile(`\bWARNING: (CPU: \d+ PID|possible|suspicious)|refcount_t: `)},
	{"out of memory", regexp.MustCompile(`Out of memory: Killed process|oom-kill:constraint=CONSTRAINT_NONE`)},
	{"segfault", regexp.MustCompile(`\bsegfault at |trap invalid opcode|traps: .* general protection`)},
	{"Go panic", regexp.MustCompile(`(^|: )panic: |(^|: )fatal error: |goroutine \d+ \[running\]`)},
	{"read-only remount", regexp.MustCompile(`(?i)remounting filesystem read-only|re-mounted .* ro\b.*emergency`)},
	{"file system error", regexp.MustCompile(`EXT4-fs error|EXT4-fs \(.*\): (error|failed)|erofs: .*(corrupt|invalid)|JBD2: .*(error|corrupt)`)},
	{"disk error", regexp.MustCompile(`Buffer I/O error|blk_update_request: I/O error|I/O error, dev `)},
	{"dm-verity corruption", regexp.MustCompile(`device-mapper: verity: .*(corrupted|error)`)},
	{"ordering cycle", regexp.MustCompile(`(?i)ordering cycle`)},
	{"failed unit", regexp.MustCompile(`\[FAILED\]|\bFailed to start |\bFailed with result |Dependency failed for `)},
	{"emergency mode", regexp.MustCompile(`You are in emergency mode|Entering emergency mode|Freezing execution|\(or press Control-D`)},
	{"reset that nobody chose", regexp.MustCompile(`Reset of this machine\. What is to go`)},
	{"firmware could not boot", regexp.MustCompile(`BdsDxe: failed to (load|start)|BdsDxe: No bootable option|No version of Skerry on this disk can be started`)},
}

// Allowance is a line that looks like trouble and is not, in every boot of every machine. The list is short and each
// entry says why it is harmless; a line that only one scenario expects is passed to Scan by that scenario instead.
type Allowance struct {
	Re     *regexp.Regexp
	Reason string
}

var allowed = []Allowance{}

// Finding is a line of a console that means trouble.
type Finding struct {
	Line
	What string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s at %.1fs: %s", f.What, f.At.Seconds(), f.Text)
}

// OfHost says whether a finding tells of the machine that tests run on: processors that are emulated stand still when their
// threads get no time. A guest that stands still by itself doesn't come to what its scenario waits for.
func (f Finding) OfHost() bool { return f.What == stall && Accelerator() == tcg }

// Scan returns the lines that mean trouble, except those allowed in general or by the caller.
func Scan(lines []Line, also ...Allowance) []Finding {
	var found []Finding
	for _, l := range lines {
		for _, t := range trouble {
			if t.re.MatchString(l.Text) {
				if !isAllowed(l.Text, allowed) && !isAllowed(l.Text, also) {
					found = append(found, Finding{Line: l, What: t.what})
				}
				break
			}
		}
	}
	return found
}

func isAllowed(text string, list []Allowance) bool {
	for _, a := range list {
		if a.Re.MatchString(text) {
			return true
		}
	}
	return false
}
