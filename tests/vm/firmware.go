// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// firmware is OVMF's code and its empty variable store.
type firmware struct {
	code, vars string
	// secure is set where it knows Secure Boot, and keeps its variables from the system by the processor's management mode.
	secure bool
}

// firmwares are where distributions put the 4 MB build of OVMF without Secure Boot, most likely first.
var firmwares = []firmware{
	{code: "/usr/share/OVMF/OVMF_CODE_4M.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"},                 // Debian, Ubuntu
	{code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},         // Arch
	{code: "/usr/share/edk2/ovmf/OVMF_CODE_4M.fd", vars: "/usr/share/edk2/ovmf/OVMF_VARS_4M.fd"},       // Fedora
	{code: "/usr/share/qemu/ovmf-x86_64-4m-code.bin", vars: "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"}, // openSUSE
}

// secureFirmwares are likewise those of the build with Secure Boot. The stores are without a certificate.
var secureFirmwares = []firmware{
	{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", true},           // Debian, Ubuntu
	{"/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd", true},   // Arch
	{"/usr/share/qemu/ovmf-x86_64-smm-code.bin", "/usr/share/qemu/ovmf-x86_64-smm-vars.bin", true}, // openSUSE
}

func findFirmware(all []firmware) (firmware, error) {
	for _, f := range all {
		if exists(f.code) && exists(f.vars) {
			return f, nil
		}
	}
	return firmware{}, errors.New("no UEFI firmware for virtual machines found: install the package ovmf")
}

// args are QEMU's options for a machine that starts with it.
func (f firmware) args(vars string) []string {
	args := []string{
		"-machine", "q35",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + quoteOption(f.code),
		"-drive", "if=pflash,unit=1,format=qcow2,file=" + quoteOption(vars),
	}
	if f.secure {
		args[1] += ",smm=on"
		args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
	}
	return args
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// SetBIOS changes the firmware of the machine, which must be off.
func (m *Machine) SetBIOS(bios bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		return fmt.Errorf("change the firmware of %s: it is on", m.cfg.Name)
	}
	m.cfg.BIOS = bios
	return nil
}

// accelerator is how QEMU runs the guest's code.
type accelerator struct {
	name string
	args []string
}

// The CPU "max" under TCG has everything Go and systemd look for, RDRAND among it, so that no boot waits for entropy.
// Five-level paging is left out: each emulated page walk would pay for it.
var (
	kvm = accelerator{"kvm", []string{"-accel", "kvm", "-cpu", "host"}}
	tcg = accelerator{"tcg", []string{"-accel", "tcg,thread=multi", "-cpu", "max,la57=off"}}
)

// chooseAccelerator goes by the processor's flags. That /dev/kvm can be opened says nothing: on machines that are
// themselves virtual without nesting it opens, makes virtual machines, and then never runs an instruction of them.
func chooseAccelerator() accelerator {
	cpuinfo, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return tcg
	}
	defer cpuinfo.Close()
	if !hasVirtualization(bufio.NewScanner(cpuinfo)) {
		return tcg
	}
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return tcg // not in the group kvm, or no driver
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

// Accelerator names what runs the guests here: "kvm" or "tcg".
func Accelerator() string { return chooseAccelerator().name }

// CheckHost says what is missing on this machine to run a lab.
func CheckHost() error {
	if _, err := findFirmware(firmwares); err != nil {
		return err
	}
	for _, tool := range []string{qemuBinary, qemuImg, qemuIO} {
		if _, err := lookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: install the packages qemu-system-x86 and qemu-utils", tool)
		}
	}
	return nil
}
