// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// ARM64 is the architecture of machines that aren't amd64, as Go and Debian have it.
const ARM64 = "arm64"

// architecture is a kind of processor, and what QEMU makes a machine with one of.
type architecture struct {
	name      string // as Go has it
	qemu      string
	pkg       string // Debian's, that has it
	machine   string
	firmwares []firmware
	emulated  string // the processor where the host's can't be
}

// The processor "max" under TCG has everything Go and systemd look for, a random number generator among it, so that no boot
// waits for entropy. What costs much and shows nothing is left out: five-level paging, for each emulated page walk, and arm64's
// own way to sign pointers, for each function.
var (
	amd64 = architecture{"amd64", "qemu-system-x86_64", "qemu-system-x86", "q35", firmwares, "max,la57=off"}
	arm64 = architecture{ARM64, "qemu-system-aarch64", "qemu-system-arm", "virt,gic-version=3", armFirmwares, "max,pauth-impdef=on"}
)

func findArchitecture(name string) (architecture, error) {
	for _, a := range []architecture{amd64, arm64} {
		if a.name != name {
			continue
		}
		if _, err := lookPath(a.qemu); err != nil {
			return a, fmt.Errorf("%s is missing: install the package %s", a.qemu, a.pkg)
		}
		return a, nil
	}
	return architecture{}, fmt.Errorf("no machines of %q can be made", name)
}

// accelerator is how QEMU runs the guest's code.
type accelerator struct {
	name string
	args []string
}

// tcg is the accelerator that emulates.
const tcg = "tcg"

var kvm = accelerator{"kvm", []string{"-accel", "kvm", "-cpu", "host"}}

// accelerator goes by the processor's flags. That /dev/kvm can be opened says nothing: on machines that are themselves virtual
// without nesting it opens, makes virtual machines, and then never runs an instruction of them.
func (a architecture) accelerator() accelerator {
	emulated := accelerator{tcg, []string{"-accel", "tcg,thread=multi", "-cpu", a.emulated}}
	if a.name != runtime.GOARCH {
		return emulated
	}
	cpuinfo, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return emulated
	}
	defer cpuinfo.Close()
	if !hasVirtualization(bufio.NewScanner(cpuinfo)) {
		return emulated
	}
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return emulated // not in the group kvm, or no driver
	}
	dev.Close()
	return kvm
}

func hasVirtualization(cpuinfo *bufio.Scanner) bool {
	cpuinfo.Buffer(nil, 1<<20)
	for cpuinfo.Scan() {
		key, flags, _ := strings.Cut(cpuinfo.Text(), ":")
		if strings.TrimSpace(key) != "flags" {
			continue
		}
		for _, f := range strings.Fields(flags) {
			if f == "vmx" || f == "svm" {
				return true
			}
		}
		return false
	}
	return false
}
