// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"time"

	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/version"
)

// clock waits for a clock that can be right, and begins with what was waiting
// for the network and the time.
func (b *Boot) clock(ctx context.Context) error {
	if err := apply.Clock(ctx, b.Machine, b.loaded, version.Built()); err != nil {
		return err
	}
	b.late = make(chan struct{})
	go func() {
		defer close(b.late)
		b.applyAll(ctx, apply.LateStages())
	}()
	return nil
}

// afterReady does what comes last in a boot.
func (b *Boot) afterReady(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-b.late:
	}
	b.applyAll(ctx, apply.ReadyStages())
}

// applyAll runs stages that the node doesn't depend on: one that fails is said
// on the console, and the next is run.
func (b *Boot) applyAll(ctx context.Context, stages []apply.Stage) {
	for _, stage := range stages {
		started := time.Now()
		err := stage.Run(ctx, b.Machine, b.loaded)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			b.Log.Error("apply " + stage.Name + ": " + err.Error())
			continue
		}
		b.Log.Debug("applied "+stage.Name, "took", time.Since(started))
	}
}
