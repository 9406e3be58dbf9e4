// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// stickSize is that of the USB stick in GiB: more than the image on it, as sticks have, and enough to be installed to.
const stickSize = 8

// stickPath is the USB stick that the medium was written to. Like a real one it can be written to.
func (m *Machine) stickPath() string { return filepath.Join(m.dir, "stick.qcow2") }

// newStick writes the medium to a USB stick, where it is to be on one.
func (m *Machine) newStick(ctx context.Context) error {
	if !m.cfg.MediumIsStick {
		return nil
	}
	return newOverlay(ctx, m.cfg.Medium, "raw", m.stickPath(), stickSize)
}

// StickUnchanged fails where anything was written to the USB stick, which must not be in the machine any more.
func (m *Machine) StickUnchanged(ctx context.Context, medium string) error {
	out, err := exec.CommandContext(ctx, qemuImg, "compare", "-f", "qcow2", "-F", "raw", m.stickPath(), medium).CombinedOutput()
	var differs *exec.ExitError
	if errors.As(err, &differs) && differs.ExitCode() == 1 {
		return fmt.Errorf("the USB stick of %s was written to: %s", m.cfg.Name, out)
	}
	if err != nil {
		return fmt.Errorf("compare the USB stick of %s with %s: %w: %s", m.cfg.Name, medium, err, out)
	}
	return nil
}
