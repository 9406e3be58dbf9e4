// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"fmt"

	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/extension"
)

// extensions fetches and merges what the configuration lays over /usr, and begins with what was waiting for the network
// and the time: commands of the user's may want the tools. The clock is right by now, for certificates of servers.
func (b *Boot) extensions(ctx context.Context) error {
	loaded := b.current()
	if n := len(loaded.Config.Skerry.Extensions); n > 0 {
		b.tell(fmt.Sprintf("merging %d extension(s)", n))
	}
	if err := apply.Extensions(ctx, b.Machine, loaded); err != nil {
		return err
	}
	apply.SweepExtensions(ctx, b.Machine, loaded)
	b.startLate(ctx)
	return nil
}

// extensionStatus returns how the extensions stand, and a line for each that somebody should look at.
func (b *Boot) extensionStatus() (all []extension.Status, problems []string) {
	if b.Machine == nil || b.Machine.Extensions == nil {
		return nil, nil
	}
	return b.Machine.Extensions.Status(), b.Machine.Extensions.Problems()
}
