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
	index := lastIndex
	if h.mediumFirst {
		index = firstIndex
	}
	switch {
	case h.medium != "":
		return []string{
			"-drive", "if=none,id=medium,format=raw,readonly=on,media=cdrom,file=" + quoteOption(h.medium),
			"-device", fmt.Sprintf("ide-cd,drive=medium,bootindex=%d", index),
		}
	case h.stick != "":
		return []string{
			"-device", "qemu-xhci,id=usb",
			"-drive", "if=none,id=stick,format=qcow2,file=" + quoteOption(h.stick),
			"-device", fmt.Sprintf("usb-storage,bus=usb.0,drive=stick,serial=stick,removable=on,bootindex=%d", index),
		}
	}
	return nil
}

// RemoveMedium takes the medium out at the machine's next power-on or reset.
func (m *Machine) RemoveMedium() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg.Medium = ""
}
