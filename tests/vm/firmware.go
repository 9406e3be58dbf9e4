// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"errors"
	"fmt"
	"os"
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

// armFirmwares are likewise those for arm64.
var armFirmwares = []firmware{
	{code: "/usr/share/AAVMF/AAVMF_CODE.fd", vars: "/usr/share/AAVMF/AAVMF_VARS.fd"},                                // Debian, Ubuntu
	{code: "/usr/share/edk2/aarch64/QEMU_CODE.fd", vars: "/usr/share/edk2/aarch64/QEMU_VARS.fd"},                    // Arch
	{code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", vars: "/usr/share/edk2/aarch64/vars-template-pflash.raw"}, // Fedora
	{code: "/usr/share/qemu/aavmf-aarch64-code.bin", vars: "/usr/share/qemu/aavmf-aarch64-vars.bin"},                // openSUSE
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
	return firmware{}, errors.New("no UEFI firmware for virtual machines found: install the package ovmf, or qemu-efi-aarch64 for machines of arm64")
}

// args are QEMU's options for a machine that starts with it.
func (f firmware) args(vars string) []string {
	args := []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + quoteOption(f.code),
		"-drive", "if=pflash,unit=1,format=qcow2,file=" + quoteOption(vars),
	}
	if f.secure {
		args = append(args, "-machine", "smm=on",
			"-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
	}
	return args
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// chooseFirmware finds what makes machines of its architecture.
func (m *Machine) chooseFirmware() (err error) {
	if m.arch, err = findArchitecture(cmp.Or(m.cfg.Architecture, amd64.name)); err != nil {
		return err
	}
	if !m.cfg.SecureBoot {
		m.firmware, err = findFirmware(m.arch.firmwares)
		return err
	}
	if m.arch.accelerator().name == tcg {
		m.cfg.CPUs = 1
	}
	if m.firmware, err = findFirmware(secureFirmwares); err != nil {
		return fmt.Errorf("with Secure Boot: %w", err)
	}
	return nil
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

// Accelerator names what runs the guests here: "kvm" or "tcg".
func Accelerator() string { return amd64.accelerator().name }

// CheckHost says what is missing on this machine to run a lab.
func CheckHost() error {
	if _, err := findFirmware(amd64.firmwares); err != nil {
		return err
	}
	for _, tool := range []string{amd64.qemu, qemuImg, qemuIO} {
		if _, err := lookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: install the packages qemu-system-x86 and qemu-utils", tool)
		}
	}
	return nil
}
