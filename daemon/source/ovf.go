// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// OVF reads the CD that Azure attaches to a machine until it has reported
// ready: ovf-env.xml, with the custom data and, as the newer of the two, the
// user data.
type OVF struct {
	// Devices is a pattern of the CD drives. The CD's label changes with Azure's
	// release, so that it can't be found by that.
	Devices string
	Volumes *Volumes
	// InstanceID is what the firmware calls this machine: the CD doesn't say.
	InstanceID string
}

const (
	ovfFile = "ovf-env.xml"
	// maxOVF holds the custom data, which Azure limits to 64 KiB, with room.
	maxOVF = 1 << 20
)

// NewOVF returns the source as it is on a running machine.
func NewOVF(volumes *Volumes, instanceID string) *OVF {
	return &OVF{Devices: "/dev/sr*", Volumes: volumes, InstanceID: instanceID}
}

// Name returns "ovf".
func (*OVF) Name() string { return "ovf" }

// errNoOVF says that a CD is another one.
var errNoOVF = errors.New("no " + ovfFile)

// Fetch reads the first CD that has the file. A drive without a CD is normal.
func (o *OVF) Fetch(ctx context.Context) (document *Document, err error) {
	if err := o.Volumes.settle(ctx); err != nil {
		return nil, err
	}
	devices, err := filepath.Glob(o.Devices)
	if err != nil {
		return nil, err
	}
	slices.Sort(devices)
	for _, device := range devices {
		name := "the CD in " + device
		mounted := false
		err = o.Volumes.read(device, []string{"udf", "iso9660"}, func(dir string) error {
			mounted = true
			data, err := readFile(dir, ovfFile, maxOVF)
			if err != nil {
				return err
			}
			if data == nil {
				return errNoOVF
			}
			a, err := parseOVF(data)
			if err != nil {
				return fmt.Errorf("%s is not valid: %w", ovfFile, err)
			}
			a.instanceID = o.InstanceID
			document, err = a.document("ovf", name)
			return err
		})
		if !mounted || errors.Is(err, errNoOVF) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		return document, nil
	}
	return nil, ErrAbsent
}

// ovfEnvironment is the part of the file that is read. Names match in any
// namespace: Azure has changed the prefixes more than once.
type ovfEnvironment struct {
	XMLName xml.Name `xml:"Environment"`
	Section struct {
		Linux struct {
			HostName   string `xml:"HostName"`
			CustomData string `xml:"CustomData"`
			UserData   string `xml:"UserData"`
			Keys       []struct {
				Value string `xml:"Value"`
			} `xml:"SSH>PublicKeys>PublicKey"`
		} `xml:"LinuxProvisioningConfigurationSet"`
	} `xml:"ProvisioningSection"`
}

func parseOVF(data []byte) (*answer, error) {
	decoder := xml.NewDecoder(bytes.NewReader(data))
	var env ovfEnvironment
	if err := decoder.Decode(&env); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("is empty")
		}
		return nil, err
	}
	set := env.Section.Linux
	a := &answer{hostname: set.HostName}
	// Custom data first, as cloud-init has it: the place people know.
	for _, part := range []struct{ name, text string }{{"CustomData", set.CustomData}, {"UserData", set.UserData}} {
		decoded, err := decodeBase64([]byte(part.text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		if a.userData = unlessBlank(decoded); a.userData != nil {
			break
		}
	}
	for _, key := range set.Keys {
		if key.Value != "" {
			a.keys = append(a.keys, key.Value)
		}
	}
	return a, nil
}
