// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"fmt"
	"strings"
)

// checkExtensions refuses a version that would boot without something that this machine has now: a driver may be what its
// node needs to be Ready.
func (u *Upgrader) checkExtensions(ctx context.Context, m *Manifest, may Choice) error {
	if u.Misfits == nil {
		return nil
	}
	u.progress("check the extensions", 0, 0)
	misfits, err := u.Misfits(ctx, m.Version, m.SysextLevel)
	switch {
	case err != nil:
		return fmt.Errorf("check the extensions of this machine: %w", err)
	case len(misfits) == 0:
		return nil
	case may.WithoutExtensions:
		u.Log.Warn(fmt.Sprintf("%s will boot without extensions of this machine: %s", m.Version, strings.Join(misfits, "; ")))
		return nil
	}
	return refused("%s would boot without extensions of this machine: %s. Change their url in skerry.extensions to images for %s ({version} in it stands for the version), or go on with --without-extensions",
		m.Version, strings.Join(misfits, "; "), m.Version)
}
