// SPDX-License-Identifier: Apache-2.0

package nodeupgrade

import (
	"strings"
	"testing"
)

const (
	older, newer      = "0.1.0", "0.2.0"
	thisBoot, earlier = "boot-2", "boot-1"
)

func TestNext(t *testing.T) {
	check := &Request{ID: "a", Step: Check, Version: newer, Source: "https://x/"}
	apply := &Request{ID: "a", Step: Apply, Version: newer, Source: "https://x/"}
	onOld := Status{Running: older}
	onTrial := Status{Running: newer, OnTrial: true}
	onNew := Status{Running: newer}
	fellBack := Status{Running: older, GaveUp: newer, Reason: "the node was not Ready within 15m"}
	checked := Report{ID: "a", Step: Check, State: Checked, Kubernetes: "v1.37.2"}
	applying := Report{ID: "a", Step: Apply, State: Applying, Starts: 1}
	rebooting := Report{ID: "a", Step: Apply, State: Rebooting, Boot: earlier}
	for _, tt := range []struct {
		name    string
		request *Request
		last    Report
		machine Status
		state   State
		act     action
		message string // part of it
	}{
		{name: "nothing asked", machine: onOld},
		{name: "nothing asked any more", last: checked, machine: onOld, state: Checked},
		{name: "asked to check", request: check, machine: onOld, state: Checking, act: doCheck},
		{name: "interrupted while it checked", request: check, last: Report{ID: "a", Step: Check, State: Checking}, machine: onOld, state: Checking, act: doCheck},
		{name: "checked", request: check, last: checked, machine: onOld, state: Checked},
		{name: "asked for another thing", request: check, last: Report{ID: "b", Step: Check, State: Failed, Message: "old"}, machine: onOld, state: Checking, act: doCheck},
		{name: "asked to apply", request: apply, last: checked, machine: onOld, state: Applying, act: doApply},
		{name: "asked for what runs", request: apply, last: checked, machine: onNew, state: Upgraded},
		{name: "asked for what runs on trial", request: apply, last: checked, machine: onTrial, state: Trial, act: waitChange},
		{name: "interrupted while it applied", request: apply, last: applying, machine: onOld, state: Applying, act: doApply},
		{
			name: "interrupted too often", request: apply, last: Report{ID: "a", Step: Apply, State: Applying, Starts: maxStarts}, machine: onOld,
			state: Failed, message: "interrupted 3 times",
		},
		{name: "rebooted before it could tell", request: apply, last: applying, machine: onTrial, state: Trial, act: waitChange},
		{
			name: "to be rebooted still", request: apply, last: Report{ID: "a", Step: Apply, State: Rebooting, Boot: thisBoot}, machine: onOld,
			state: Rebooting, act: doReboot,
		},
		{name: "rebooted, on trial", request: apply, last: rebooting, machine: onTrial, state: Trial, act: waitChange},
		{name: "rebooted, proven", request: apply, last: rebooting, machine: onNew, state: Upgraded},
		{name: "rebooted, fell back", request: apply, last: rebooting, machine: fellBack, state: FellBack, message: "runs 0.1.0 again: the node was not Ready within 15m"},
		{name: "rebooted, fell back without a word", request: apply, last: rebooting, machine: onOld, state: FellBack, message: "0.2.0 did not come so far"},
		{name: "still on trial", request: apply, last: Report{ID: "a", Step: Apply, State: Trial}, machine: onTrial, state: Trial, act: waitChange},
		{name: "proven", request: apply, last: Report{ID: "a", Step: Apply, State: Trial}, machine: onNew, state: Upgraded},
		{name: "fell back from the trial", request: apply, last: Report{ID: "a", Step: Apply, State: Trial}, machine: fellBack, state: FellBack, message: "not Ready"},
		{name: "fallen back is fallen back", request: apply, last: Report{ID: "a", Step: Apply, State: FellBack, Message: "why"}, machine: onOld, state: FellBack, message: "why"},
		{name: "upgraded is upgraded", request: apply, last: Report{ID: "a", Step: Apply, State: Upgraded}, machine: onNew, state: Upgraded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, act := next(tt.request, tt.last, tt.machine, thisBoot)
			if got.State != tt.state || act != tt.act {
				t.Errorf("next: %s and to do %q, want %s and %q", got.State, act, tt.state, tt.act)
			}
			if !strings.Contains(got.Message, tt.message) || tt.message == "" && got.Message != "" {
				t.Errorf("message %q, want %q", got.Message, tt.message)
			}
			if got.Running != tt.machine.Running || got.OnTrial != tt.machine.OnTrial {
				t.Errorf("it tells that %s runs, on trial %v; the machine says %+v", got.Running, got.OnTrial, tt.machine)
			}
			if tt.request != nil && !got.Answers(tt.request.ID, tt.request.Step) {
				t.Errorf("the report answers %s %s", got.ID, got.Step)
			}
		})
	}
	if got, _ := next(apply, checked, onOld, thisBoot); got.Kubernetes != "v1.37.2" || got.Starts != 1 {
		t.Errorf("what was checked is forgotten: %+v", got)
	}
	if got, _ := next(apply, applying, onOld, thisBoot); got.Starts != 2 {
		t.Errorf("it counts %d starts, want 2", got.Starts)
	}
}
