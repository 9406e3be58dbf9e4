// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	if l.cfg.Native {
		return m, m.copyTree(ctx, of)
	}
	// With the image that both are made on left behind them: that is never written to.
	args := []string{"convert", "-q", "-O", "qcow2", "-B", l.cfg.Image, "-F", "raw", of.disk, m.disk}
	if err := runTool(ctx, qemuImg, args...); err != nil {
		return nil, fmt.Errorf("copy %s: %w", of.cfg.Name, err)
	}
	return m, nil
}

// copyTree copies what a native machine keeps on its disk.
func (m *Machine) copyTree(ctx context.Context, of *Machine) error {
	to := m.nativeDisk()
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("copy %s: %w", of.cfg.Name, err)
	}
	for _, part := range []string{"state", "data"} {
		if err := runTool(ctx, "cp", "--archive", "--reflink=auto", filepath.Join(of.nativeDisk(), part), to); err != nil {
			return fmt.Errorf("copy %s: %w", of.cfg.Name, err)
		}
	}
	return nil
}
