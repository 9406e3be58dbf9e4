// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
)

// noCloudLabel is the file system label of a NoCloud volume, in any case.
const noCloudLabel = "cidata"

// volumeTypes are the file systems that cloud-init's volumes may have.
var volumeTypes = []string{"iso9660", "vfat"}

// NoCloud reads a volume labelled cidata, with the files user-data, meta-data,
// network-config and vendor-data in its root: cloud-init's NoCloud.
type NoCloud struct {
	Volumes *Volumes
	// Given is what the kernel command line says about this machine.
	Given Given
}

// noCloudFiles are the names of the files, which are those of a document.
var noCloudFiles = map[string]string{
	userDataFile: userDataFile, metaDataFile: metaDataFile, networkConfigFile: networkConfigFile, vendorDataFile: vendorDataFile,
}

// Name returns "nocloud".
func (*NoCloud) Name() string { return "nocloud" }

// Fetch reads the volume. A volume without user-data is an error: somebody has
// made it for this machine, and would wait in vain.
func (n *NoCloud) Fetch(ctx context.Context) (document *Document, err error) {
	device, err := n.Volumes.find(ctx, noCloudLabel)
	if err != nil {
		return nil, err
	}
	if device == "" {
		return nil, ErrAbsent
	}
	name := volumeName(device)
	err = n.Volumes.read(device, volumeTypes, func(dir string) error {
		files, err := readFiles(dir, noCloudFiles)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if files[userDataFile] == nil {
			return fmt.Errorf("%s has no file named %s in its root", name, userDataFile)
		}
		document, err = newDocument("nocloud", name, files)
		return err
	})
	if err != nil {
		return nil, err
	}
	return document, n.Given.apply(document)
}
