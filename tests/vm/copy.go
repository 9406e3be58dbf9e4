// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
)

// AddCopy adds a machine whose disk is a copy of another's, which must be off, as whoever copies a virtual machine, or
// makes many of one, would have it. Nothing else is copied: neither the firmware's variables nor a NoCloud volume.
func (l *Lab) AddCopy(ctx context.Context, of *Machine, cfg MachineConfig) (*Machine, error) {
	if of.Running() {
		return nil, fmt.Errorf("copy %s: the machine is on", of.cfg.Name)
	}
	m, err := l.Add(ctx, cfg)
	if err != nil {
		return nil, err
	}
	// With the image that both are made on left behind them: that is never written to.
	args := []string{"convert", "-q", "-O", "qcow2", "-B", l.cfg.Image, "-F", "raw", of.disk, m.disk}
	if err := runTool(ctx, qemuImg, args...); err != nil {
		return nil, fmt.Errorf("copy %s: %w", of.cfg.Name, err)
	}
	return m, nil
}
