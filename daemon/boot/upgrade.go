// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"errors"

	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/upgrade"
)

// settleUpgrade closes an upgrade that has ended with this boot, and says on the console how. The boot goes on beside it.
func (b *Boot) settleUpgrade(ctx context.Context) {
	if b.Upgrades == nil {
		return
	}
	outcome, err := b.Upgrades.Settle(ctx)
	switch {
	case errors.Is(err, upgrade.ErrBusy):
		return // it has not ended
	case err != nil:
		b.Log.Warn("how the last upgrade ended can't be found out", "error", err)
	case outcome == nil:
		return
	case outcome.Result == upgrade.FellBack:
		b.Log.Error("upgrade: " + outcome.String())
	default:
		b.Log.Info("upgrade: " + outcome.String())
	}
}

// upgradeStatus is nil where there is nothing to tell.
func (b *Boot) upgradeStatus() *status.Upgrade {
	if b.Upgrades == nil {
		return nil
	}
	s, err := b.Upgrades.Summarize()
	if err != nil {
		s.News = "it is not known: " + err.Error()
	}
	if s == (upgrade.Summary{}) {
		return nil
	}
	return &status.Upgrade{Now: s.News, Last: s.Last}
}
