// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import "fmt"

// State is how much a server is trusted to answer. The higher one is tried
// first. The numbers are those of the metric, the names those of the status;
// both are K3s' contract.
//
//	unchecked --dialed, passed--> recovering --passed--> preferred, or active if it has connections
//	preferred, healthy --dialed--> active
//	active --outdone--> preferred --rested--> healthy
//	anything listed --dial failed, failed--> failed --dialed, passed--> recovering
//	the default address, not listed: standby --dial failed--> failed --dialed--> standby
//	not listed any more --> invalid
type State int

// The states.
const (
	Invalid    State = 0 // not a server any more
	Failed     State = 1 // the last attempt failed; tried when nothing else is left
	Standby    State = 2 // the default address, while the servers' own are known
	Unchecked  State = 3 // nothing is known of it
	Recovering State = 4 // it has answered once
	Healthy    State = 5
	Preferred  State = 6 // healthy, and lately so
	Active     State = 7 // the one that connections go to
)

var stateNames = map[State]string{
	Invalid: "INVALID", Failed: "FAILED", Standby: "STANDBY", Unchecked: "UNCHECKED",
	Recovering: "RECOVERING", Healthy: "HEALTHY", Preferred: "PREFERRED", Active: "ACTIVE",
}

func (s State) String() string { return stateNames[s] }

// MarshalText makes a state its name in JSON and YAML.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *State) UnmarshalText(text []byte) error {
	for state, name := range stateNames {
		if name == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("%q is no state of a server", text)
}

// event is something that was learnt of a server.
type event int

const (
	dialed     event = iota // a connection was made
	dialFailed              // none could be made
	passed                  // its tunnel is up
	failed                  // its tunnel went down
	rested                  // nobody has dialed it for a minute
	outdone                 // another active server has more connections
)

// next computes the state of a server that is listed, or is the default address.
func next(s State, e event, listed bool, connections int) State {
	switch {
	case s == Invalid:
		return Invalid
	case e == dialFailed, e == failed:
		return Failed
	case !listed:
		return Standby
	}
	switch s {
	case Standby, Unchecked, Failed:
		if e == dialed || e == passed {
			return Recovering
		}
	case Recovering:
		if e == passed && connections > 0 {
			return Active
		}
		if e == passed {
			return Preferred
		}
	case Healthy, Preferred:
		if e == dialed {
			return Active
		}
		if e == rested {
			return Healthy
		}
	case Active:
		if e == outdone {
			return Preferred
		}
	}
	return s
}
