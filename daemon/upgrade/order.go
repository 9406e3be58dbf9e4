// SPDX-License-Identifier: Apache-2.0

package upgrade

import "github.com/skerry-os/skerry/daemon/slot"

// prefer has the boot loader try a UKI before the one that runs. It boots the newest version with attempts left, and those
// without any last, again the newest first. So an older version comes first once the newer one, which runs, has no attempt
// left; when the older one has used up its own, the newer one is first again.
func (u *Upgrader) prefer(slots *slot.Slots, uki slot.UKI) error {
	running := slots.Running()
	if running.UKI == nil || slot.Compare(uki.Version, running.UKI.Version) > 0 {
		return nil
	}
	none := 0
	_, err := u.Slots.SetCount(*running.UKI, &none)
	return err
}
