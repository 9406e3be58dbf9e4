// SPDX-License-Identifier: Apache-2.0

package nodeupgrade

import "fmt"

// maxStarts is how often applying is begun for one request. A power cut while the payload is fetched or written is no reason
// to give up; a payload that takes the machine down each time is.
const maxStarts = 3

// action is what the machine has to do.
type action string

const (
	nothing    action = ""
	doCheck    action = "check"
	doApply    action = "apply"
	doReboot   action = "reboot"
	waitChange action = "wait" // something is under way that tells nobody when it is done
)

// next computes the report that follows last, and what to do for it, from facts alone: whatever of this was interrupted, by
// a restart of the process or of the machine, goes on from here. It is not asked while an action runs.
func next(request *Request, last Report, machine Status, boot string) (Report, action) {
	now := last
	now.Running, now.OnTrial = machine.Running, machine.OnTrial
	if request == nil {
		return now, nothing // the last report stays, for people
	}
	if !last.Answers(request.ID, request.Step) {
		now = Report{Running: machine.Running, OnTrial: machine.OnTrial, ID: request.ID, Step: request.Step}
		if last.ID == request.ID {
			now.Kubernetes = last.Kubernetes
		}
		switch {
		case request.Step == Check:
			now.State = Checking
			return now, doCheck
		case machine.Running == request.Version:
			return booted(now, request, machine)
		}
		now.State, now.Starts = Applying, 1
		return now, doApply
	}
	switch last.State {
	case Checking:
		return now, doCheck
	case Applying:
		switch {
		case machine.Running == request.Version:
			return booted(now, request, machine)
		case last.Starts >= maxStarts:
			now.State = Failed
			now.Message = fmt.Sprintf("it was interrupted %d times while the payload was fetched and written", last.Starts)
			return now, nothing
		}
		now.Starts++
		return now, doApply
	case Rebooting:
		if boot == last.Boot {
			return now, doReboot
		}
		return booted(now, request, machine)
	case Trial:
		return booted(now, request, machine)
	}
	return now, nothing
}

// booted is the report of a machine that has booted since it was asked.
func booted(now Report, request *Request, machine Status) (Report, action) {
	now.Message = ""
	switch {
	case machine.Running != request.Version:
		now.State = FellBack
		now.Message = fmt.Sprintf("it runs %s again: %s", machine.Running, machine.reason(request.Version))
	case machine.OnTrial:
		now.State = Trial
		return now, waitChange
	default:
		now.State = Upgraded
	}
	return now, nothing
}
