// SPDX-License-Identifier: Apache-2.0

package scenario

var biosUpgradeUnbootable = Scenario{
	Name:   "bios-upgrade-unbootable",
	Suite:  SuiteAll,
	Shows:  "on a machine with a BIOS, a version whose kernel panics is tried three times; the machine boots the version before by itself, and says what was wrong",
	OwnLab: true,
	Run:    unbootable(true, noInit, kernelPanics),
}
