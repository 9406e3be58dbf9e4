// SPDX-License-Identifier: Apache-2.0

// Package vm boots machines from the image in QEMU and does to them what a user, or the weather, would do: log in, run
// kubectl, pull the network cable, cut the power.
//
// A Lab is one private network with machines on it. It runs without root and without any way for a guest to reach
// something outside the lab (see package ethernet). It assumes qemu-system-x86_64, qemu-img, qemu-io and OVMF to be
// installed, and uses KVM only where guests really run on it. Nothing here knows what a scenario is about: expectations
// belong to package scenario.
package vm
