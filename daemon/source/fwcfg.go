// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FwCfg reads what QEMU was given with
//
//	-fw_cfg name=opt/org.skerry/user-data,file=…
//
// and likewise meta-data, network-config and vendor-data. Reading takes time
// with the square of the size: it is meant for small files.
type FwCfg struct {
	// Dir is the folder of Skerry's own names in sysfs.
	Dir     string
	Volumes *Volumes
}

// fwCfgDir follows QEMU's rule for names: opt/, and a domain turned around.
const fwCfgDir = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.skerry"

// NewFwCfg returns the source as it is on a running machine.
func NewFwCfg(volumes *Volumes) *FwCfg { return &FwCfg{Dir: fwCfgDir, Volumes: volumes} }

// Name returns "fw_cfg".
func (*FwCfg) Name() string { return "fw_cfg" }

// Fetch reads the files. The folder is there when udev has loaded the driver.
func (f *FwCfg) Fetch(ctx context.Context) (*Document, error) {
	if err := f.Volumes.settle(ctx); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name := range noCloudFiles {
		data, err := readRaw(filepath.Join(f.Dir, name, "raw"), fileLimits[name])
		if err != nil {
			return nil, fmt.Errorf("read %s of QEMU's fw_cfg: %w", name, err)
		}
		files[name] = data
	}
	if files[userDataFile] == nil {
		return nil, ErrAbsent
	}
	return newDocument("fw_cfg", "QEMU's fw_cfg", files)
}

func readRaw(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readLimited(file, limit)
}
