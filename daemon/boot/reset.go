// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/reset"
)

// runDir is a folder of this boot, which the initrd has written to before.
const runDir = "/run/skerry"

// reset reboots the machine where the configuration asks for a reset that it has not had yet. Nothing has been applied.
func (b *Boot) reset(ctx context.Context, loaded *config.Loaded) error {
	var id string
	var parts []reset.Part
	if section := loaded.Config.Skerry.Reset; section != nil {
		id = section.ID
		for _, part := range section.Wipe {
			parts = append(parts, reset.Part(part))
		}
	}
	needed, err := reset.Boot(b.StateDir, filepath.Join(b.Machine.Root, runDir), id, parts)
	if err != nil || !needed {
		return err
	}
	asked := reset.Request{Parts: parts}
	b.Log.Warn(fmt.Sprintf("skerry.reset %q asks for a reset of %s; rebooting once", id, &asked))
	return b.reboot(ctx, "for a reset")
}
