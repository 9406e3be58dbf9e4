// SPDX-License-Identifier: Apache-2.0

package vm

import "fmt"

// The order in which the firmware looks for something to start.
const (
	firstIndex = iota
	diskIndex
	lastIndex
)

func (h hardware) mediumArgs() []string {
	if h.medium == "" {
		return nil
	}
	index, media, device := lastIndex, "cdrom", "ide-cd,drive=medium"
	if h.mediumFirst {
		index = firstIndex
	}
	if h.mediumIsDisk {
		media, device = "disk", "virtio-blk-pci,drive=medium,serial=medium"
	}
	return []string{
		"-drive", "if=none,id=medium,format=raw,readonly=on,media=" + media + ",file=" + quoteOption(h.medium),
		"-device", fmt.Sprintf("%s,bootindex=%d", device, index),
	}
}

// RemoveMedium takes the medium out at the machine's next power-on or reset.
func (m *Machine) RemoveMedium() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg.Medium = ""
}
