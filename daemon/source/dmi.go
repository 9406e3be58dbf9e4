// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// DMI is what the firmware, or the hypervisor behind it, calls this machine.
// The keys are names of files in sysfs. What can't be told is not there.
type DMI map[string]string

// Files in /sys/class/dmi/id, and the one of Xen's hypervisor.
const (
	sysVendor     = "sys_vendor"
	productName   = "product_name"
	productSerial = "product_serial"
	productUUID   = "product_uuid"
	chassisTag    = "chassis_asset_tag"
	xenUUID       = "xen_uuid"

	dmiDir      = "/sys/class/dmi/id"
	xenUUIDFile = "/sys/hypervisor/uuid"
	maxDMIField = 4 << 10
)

// ReadDMI reads what there is below a root, which is "/" but in tests. Machines
// without such firmware have nothing.
func ReadDMI(root string) (DMI, error) {
	d := DMI{}
	paths := map[string]string{xenUUID: xenUUIDFile}
	for _, name := range []string{sysVendor, productName, productSerial, productUUID, chassisTag} {
		paths[name] = dmiDir + "/" + name
	}
	for name, path := range paths {
		data, err := readRaw(filepath.Join(root, path), maxDMIField)
		// Serial numbers are for root only.
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("read what the firmware calls this machine: %w", err)
		}
		if value := strings.TrimSpace(string(data)); value != "" {
			d[name] = value
		}
	}
	return d, nil
}

// rule is one way to recognise a platform: a field that has one of the values.
type rule struct {
	field  string
	how    match
	values []string
	// hint is a second condition, for fields that could be so by chance.
	hint *rule
}

type match string

const (
	is          match = "is"
	beginsWith  match = "begins with"
	isEC2UUID   match = "is a UUID of EC2's"
	equalsField match = "equals the field"
)

// String returns the rule as a person would say it.
func (r rule) String() string {
	text := r.field + " " + string(r.how)
	for i, value := range r.values {
		if i > 0 {
			text += " or"
		}
		text += fmt.Sprintf(" %q", value)
	}
	if r.hint != nil {
		text += " and " + r.hint.String()
	}
	return text
}

func (r rule) matches(d DMI) bool {
	value, ok := d[r.field]
	if !ok || r.hint != nil && !r.hint.matches(d) {
		return false
	}
	switch r.how {
	case is:
		return slices.Contains(r.values, value)
	case beginsWith:
		return slices.ContainsFunc(r.values, func(v string) bool { return strings.HasPrefix(value, v) })
	case isEC2UUID:
		return isUUIDOfEC2(value)
	case equalsField:
		return slices.ContainsFunc(r.values, func(field string) bool { return strings.EqualFold(value, d[field]) })
	}
	return false
}

// isUUIDOfEC2 recognises ec2 at the beginning. Where the firmware writes the
// first number of a UUID with its low byte first, it is at the end of that.
func isUUIDOfEC2(uuid string) bool {
	uuid = strings.ToLower(uuid)
	return strings.HasPrefix(uuid, "ec2") || len(uuid) == 36 && uuid[4] == '2' && uuid[6:8] == "ec"
}
