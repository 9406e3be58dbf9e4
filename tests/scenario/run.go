// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// Options say how to run scenarios.
type Options struct {
	Image    string // raw image to boot
	Examples string // folder with server.yaml and agent.yaml
	// Build is the folder for everything that running leaves behind: disks while they are in use, and evidence of
	// failures.
	Build string
	Keep  bool // keep disks, and after a failure the running machines until the context ends
	// Native runs all scenarios on native machines, also those that are about what these do not have.
	Native bool
	Seed   uint64 // of everything random
	Out    io.Writer
	Log    *slog.Logger
}

// Result is how one scenario went.
type Result struct {
	Scenario Scenario
	Took     time.Duration
	Err      error // nil if it passed
}

// Run runs scenarios, those that share machines first, and tells on Out how they go.
func Run(ctx context.Context, opts Options, chosen []Scenario) []Result {
	r := &runner{Options: opts}
	defer r.closeLab()
	fmt.Fprintf(r.Out, "%d scenarios with %s on %s (seed %d)\n", len(chosen), opts.Image, vm.Accelerator(), opts.Seed)
	var results []Result
	for _, group := range []struct{ ownLab, native bool }{{false, false}, {false, true}, {true, true}, {true, false}} {
		for _, s := range chosen {
			s.Native = s.Native || opts.Native
			if s.OwnLab != group.ownLab || s.Native != group.native || ctx.Err() != nil {
				continue
			}
			results = append(results, r.run(ctx, s))
		}
	}
	return results
}

type runner struct {
	Options
	// shared has the machines that scenarios share; nil until the first one needs them and after a failure.
	shared *machines
	labs   int
}

func (r *runner) run(ctx context.Context, s Scenario) Result {
	began := time.Now()
	fmt.Fprintf(r.Out, "\n=== %s: %s\n", s.Name, s.Shows)
	if s.OwnLab || (r.shared != nil && r.shared.native != s.Native) {
		r.closeLab()
	}
	t := &T{Options: r.Options, name: s.Name, began: began}
	err := r.openLab(ctx, s.Native)
	if err == nil {
		t.machines = r.shared
		err = s.Run(ctx, t)
		// Also when it failed otherwise: a panic on a console explains most of what can go wrong after it.
		err = errors.Join(err, t.scanConsoles())
	}
	result := Result{Scenario: s, Took: time.Since(began), Err: err}
	if err == nil {
		fmt.Fprintf(r.Out, "--- passed: %s (%s)\n", s.Name, seconds(result.Took))
		if s.OwnLab {
			r.closeLab()
		}
		return result
	}
	fmt.Fprintf(r.Out, "--- FAILED: %s (%s): %v\n", s.Name, seconds(result.Took), err)
	r.failed(ctx, s, err)
	return result
}

// failed keeps the evidence and makes sure that the next scenario starts with fresh machines.
func (r *runner) failed(ctx context.Context, s Scenario, failure error) {
	defer r.closeLab()
	if r.shared == nil {
		return
	}
	dir := filepath.Join(r.Build, "failures", s.Name)
	// The context may be what failed; the evidence is wanted all the same, if the user waits for it.
	collectCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), vm.Scaled(5*time.Minute))
	defer cancel()
	if ctx.Err() == nil {
		if err := r.shared.lab.Collect(collectCtx, dir, failure); err != nil {
			fmt.Fprintf(r.Out, "    evidence is incomplete: %v\n", err)
		}
		fmt.Fprintf(r.Out, "    evidence is in %s\n", dir)
	}
	if r.Keep && ctx.Err() == nil {
		r.shared.describe(r.Out)
		fmt.Fprintln(r.Out, "    the machines are kept running; Ctrl-C stops them")
		<-ctx.Done()
	}
}

func (r *runner) openLab(ctx context.Context, native bool) error {
	if r.shared != nil {
		return nil
	}
	r.labs++
	dir := filepath.Join(r.Build, "scenarios", fmt.Sprintf("lab-%d", r.labs))
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	lab, err := vm.NewLab(ctx, vm.LabConfig{Dir: dir, Image: r.Image, Native: native, Log: r.Log})
	if err != nil {
		return err
	}
	r.shared = &machines{lab: lab, native: native, scanned: map[*vm.Console]int{}}
	return nil
}

func (r *runner) closeLab() {
	if r.shared == nil {
		return
	}
	r.shared.lab.Close()
	if !r.Keep {
		// Disks are large, and what a failure is understood from has been copied.
		if err := os.RemoveAll(filepath.Dir(r.shared.lab.KeyFile())); err != nil {
			r.Log.Warn("lab not removed", "err", err)
		}
	}
	r.shared = nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
