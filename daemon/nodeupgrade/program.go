// SPDX-License-Identifier: Apache-2.0

package nodeupgrade

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// DefaultProgram is the image's own.
const DefaultProgram = "/usr/bin/skerry"

// HasSlots tells whether this machine was booted from a slot. One that wasn't, such as a Linux of somebody else's on which
// skerry runs by hand, has nothing to upgrade.
func HasSlots() (bool, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return false, err
	}
	for word := range strings.FieldsSeq(string(line)) {
		if strings.HasPrefix(word, "roothash=") {
			return true, nil
		}
	}
	return false, nil
}

// Program is a machine that is upgraded by `skerry upgrade`, as people do it. It is a process of its own: the unit of the
// node process leaves it alone when that is restarted, so that an upgrade isn't interrupted by what happens to Kubernetes.
type Program struct {
	Path string // of skerry
	// Reboots reboots the machine in order: a kubelet asks systemd for time to end its pods.
	Reboots []string
	// Pause is between two attempts while another upgrade is under way.
	Pause time.Duration
}

// NewProgram is this machine.
func NewProgram(path string) *Program {
	return &Program{Path: path, Reboots: []string{"systemctl", "reboot", "--no-block"}, Pause: 10 * time.Second}
}

// exitBusy is what skerry ends with while another upgrade is under way: the one before a restart of this process, above all.
const exitBusy = 4

// state is what `skerry upgrade status -o json` prints, as far as it matters here.
type state struct {
	Version string `json:"version"`
	Trial   *struct {
		Version   string `json:"version"`
		Installed bool   `json:"installed"`
		Failure   string `json:"failure"`
	} `json:"trial"`
	Last *struct {
		Version string `json:"version"`
		Result  string `json:"result"`
		Reason  string `json:"reason"`
	} `json:"last"`
}

// fellBack is a result of state.Last.
const fellBack = "fell back"

// offer is what `skerry upgrade check -o json` prints, as far as it matters here.
type offer struct {
	Running    string `json:"running"`
	Version    string `json:"version"`
	Newer      bool   `json:"newer"`
	Kubernetes string `json:"kubernetes"`
	Installed  bool   `json:"installed"`
}

// Status implements Machine.
func (p *Program) Status(ctx context.Context) (Status, error) {
	var s state
	if err := p.ask(ctx, &s, "upgrade", "status", "-o", "json"); err != nil {
		return Status{}, err
	}
	if s.Version == "" {
		return Status{}, errors.New("skerry upgrade status doesn't say which version runs")
	}
	status := Status{Running: s.Version, OnTrial: s.Trial != nil && s.Trial.Version == s.Version}
	switch {
	case s.Trial != nil && s.Trial.Failure != "" && !status.OnTrial:
		status.GaveUp, status.Reason = s.Trial.Version, s.Trial.Failure
	case s.Last != nil && s.Last.Result == fellBack:
		status.GaveUp, status.Reason = s.Last.Version, s.Last.Reason
	}
	return status, nil
}

// Check implements Machine. It refuses what applying would refuse, before a node is drained for it.
func (p *Program) Check(ctx context.Context, source string) (Offer, error) {
	o, err := p.check(ctx, source)
	if err != nil {
		return Offer{}, err
	}
	if !o.Newer && o.Version != o.Running {
		return Offer{}, fmt.Errorf("%s is older than %s, which runs: a plan doesn't go back, skerry upgrade rollback does", o.Version, o.Running)
	}
	return Offer{Version: o.Version, Kubernetes: o.Kubernetes}, nil
}

func (p *Program) check(ctx context.Context, source string) (offer, error) {
	var o offer
	return o, p.ask(ctx, &o, "upgrade", "check", source, "-o", "json")
}

// Apply implements Machine.
func (p *Program) Apply(ctx context.Context, source, version string) error {
	// It may be another one than the one that was checked, and an hour ago, before the node was drained.
	o, err := p.check(ctx, source)
	switch {
	case err != nil:
		return err
	case o.Version != version:
		return fmt.Errorf("%s has version %s now, and not %s", source, o.Version, version)
	case o.Installed:
		return nil // an earlier start has done it
	}
	for {
		_, err := p.run(ctx, "upgrade", "apply", source)
		var exit *exec.ExitError
		if err == nil || !errors.As(err, &exit) || exit.ExitCode() != exitBusy {
			if err != nil {
				return err
			}
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(p.Pause):
		}
	}
	var s state
	if err := p.ask(ctx, &s, "upgrade", "status", "-o", "json"); err != nil {
		return err
	}
	if s.Trial == nil || !s.Trial.Installed || s.Trial.Version != version {
		return fmt.Errorf("%s was applied, and %s is not what the next boot tries: skerry upgrade status says more", source, version)
	}
	return nil
}

// Reboot implements Machine.
func (p *Program) Reboot(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, p.Reboots[0], p.Reboots[1:]...).CombinedOutput() //nolint:gosec // it is ours
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(p.Reboots, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (p *Program) ask(ctx context.Context, answer any, args ...string) error {
	out, err := p.run(ctx, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("read what skerry %s prints: %w", strings.Join(args, " "), err)
	}
	return nil
}

// run does not end the program with ctx: whoever restarts the node process doesn't mean the upgrade.
func (p *Program) run(ctx context.Context, args ...string) ([]byte, error) {
	var out, complaints bytes.Buffer
	cmd := exec.Command(p.Path, args...) //nolint:gosec // the program is ours, and what is asked for reaches no shell
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-done:
		if err != nil {
			return nil, &programError{said: strings.TrimSpace(complaints.String()), err: err, args: args}
		}
		return out.Bytes(), nil
	}
}

// programError is what a program ended with. Its own words come first: they are meant for people.
type programError struct {
	said string
	err  error
	args []string
}

func (e *programError) Unwrap() error { return e.err }

func (e *programError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("skerry %s: %v", strings.Join(e.args, " "), e.err)
	}
	return strings.TrimPrefix(strings.ReplaceAll(e.said, "\n", "; "), "skerry: ")
}
