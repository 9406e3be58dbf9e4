// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"time"

	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/version"
)

// clock waits for a clock that can be right.
func (b *Boot) clock(ctx context.Context) error {
	return apply.Clock(ctx, b.Machine, b.current(), version.Built(), b.tell)
}

// startLate runs the late stages once those of an earlier configuration have
// ended.
func (b *Boot) startLate(ctx context.Context) {
	ended := make(chan struct{})
	b.mu.Lock()
	before := b.late
	b.late = ended
	b.mu.Unlock()
	go func() {
		defer close(ended)
		if before != nil {
			<-before // it ends with ctx, too
		}
		b.applyAll(ctx, apply.LateStages())
	}()
}

// afterReady does what comes last in a boot.
func (b *Boot) afterReady(ctx context.Context) {
	b.mu.Lock()
	late := b.late
	b.mu.Unlock()
	select {
	case <-ctx.Done():
		return
	case <-late:
	}
	b.applyAll(ctx, apply.ReadyStages())
}

// applyAll runs stages that the node doesn't depend on: one that fails is said
// on the console, and the next is run.
func (b *Boot) applyAll(ctx context.Context, stages []apply.Stage) {
	b.applyAs(ctx, stages, b.current())
}

// applyAs is applyAll for a configuration that needn't be the current one.
func (b *Boot) applyAs(ctx context.Context, stages []apply.Stage, loaded *config.Loaded) {
	for _, stage := range stages {
		started := time.Now()
		err := stage.Run(ctx, b.Machine, loaded)
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
