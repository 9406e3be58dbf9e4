// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// configDriveLabel is the file system label of a config drive, in any case.
const configDriveLabel = "config-2"

// ConfigDrive reads a volume labelled config-2, as OpenStack and clouds that
// follow it attach it to a machine: the files of openstack/latest.
type ConfigDrive struct{ Volumes *Volumes }

// Name returns "configdrive".
func (*ConfigDrive) Name() string { return "configdrive" }

// Fetch reads the drive. One without user_data is normal: the cloud attaches it
// to every machine, whether it was given a configuration or not.
func (c *ConfigDrive) Fetch(ctx context.Context) (document *Document, err error) {
	device, err := c.Volumes.find(ctx, configDriveLabel)
	if err != nil {
		return nil, err
	}
	if device == "" {
		return nil, ErrAbsent
	}
	name := volumeName(device)
	err = c.Volumes.read(device, volumeTypes, func(dir string) error {
		document, err = readConfigDrive(name, filepath.Join(dir, "openstack", "latest"))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return document, nil
}

func readConfigDrive(name, dir string) (*Document, error) {
	files, err := readFiles(dir, map[string]string{
		openStackMetaData: metaDataFile, openStackUserData: userDataFile,
		networkDataFile: networkDataFile, openStackVendorData: vendorDataFile,
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it has no folder openstack/latest")
	}
	if err != nil {
		return nil, err
	}
	if files[metaDataFile] == nil {
		return nil, fmt.Errorf("openstack/latest has no %s", openStackMetaData)
	}
	a, err := openStackAnswer(files[metaDataFile], files[userDataFile], files[networkDataFile], files[vendorDataFile])
	if err != nil {
		return nil, err
	}
	return a.document("configdrive", name)
}
