// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"encoding/binary"
	"slices"
)

const (
	// etherTypeVLAN says that four bytes, this type and the tag, stand before the frame's own type (IEEE 802.1Q).
	etherTypeVLAN = 0x8100
	typeAt        = 12 // behind the two hardware addresses
	tagSize       = 4
	vlanMask      = 0x0fff // the bits of a tag that number the VLAN
)

// tag puts a frame into a VLAN. 0 leaves it as it is.
func tag(frame []byte, vlan uint16) []byte {
	if vlan == 0 || len(frame) < frameMin {
		return frame
	}
	return slices.Insert(frame, typeAt, etherTypeVLAN>>8, etherTypeVLAN&0xff, byte(vlan>>8), byte(vlan))
}

// untag takes a frame out of its VLAN, or says that it is not of this one. The frame itself stays as it is: others have it too.
func untag(frame []byte, vlan uint16) ([]byte, bool) {
	if len(frame) < frameMin+tagSize || binary.BigEndian.Uint16(frame[typeAt:]) != etherTypeVLAN {
		return frame, vlan == 0
	}
	if binary.BigEndian.Uint16(frame[typeAt+2:])&vlanMask != vlan {
		return nil, false
	}
	return slices.Concat(frame[:typeAt], frame[typeAt+tagSize:]), true
}
