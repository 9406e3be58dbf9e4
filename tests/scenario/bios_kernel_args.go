// SPDX-License-Identifier: Apache-2.0

package scenario

var biosKernelArgs = Scenario{
	Name:   "bios-kernel-args",
	Suite:  SuiteAll,
	Shows:  "on a machine with a BIOS, arguments of the kernel in the cloud-config are on its command line after one reboot of its own, and gone when they are taken out",
	OwnLab: true,
	Run:    kernelArgsWith(true),
}
