// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import "testing"

func TestNext(t *testing.T) {
	const listed, alone = true, false
	for _, tt := range []struct {
		from        State
		event       event
		listed      bool
		connections int
		want        State
	}{
		{Unchecked, dialed, listed, 1, Recovering},
		{Unchecked, passed, listed, 0, Recovering},
		{Unchecked, dialFailed, listed, 0, Failed},
		{Unchecked, rested, listed, 0, Unchecked},

		{Recovering, passed, listed, 0, Preferred},
		{Recovering, passed, listed, 1, Active},
		{Recovering, dialed, listed, 2, Recovering},
		{Recovering, dialFailed, listed, 2, Failed},
		{Recovering, failed, listed, 2, Failed},

		{Preferred, dialed, listed, 1, Active},
		{Preferred, passed, listed, 0, Preferred},
		{Preferred, rested, listed, 0, Healthy},
		{Preferred, failed, listed, 0, Failed},
		{Preferred, dialFailed, listed, 0, Failed},

		{Healthy, dialed, listed, 1, Active},
		{Healthy, passed, listed, 0, Healthy},
		{Healthy, failed, listed, 0, Failed},
		{Healthy, dialFailed, listed, 0, Failed},

		{Active, dialed, listed, 9, Active},
		{Active, passed, listed, 9, Active},
		{Active, outdone, listed, 1, Preferred},
		{Active, failed, listed, 9, Failed},
		{Active, dialFailed, listed, 9, Failed},

		{Failed, dialed, listed, 1, Recovering},
		{Failed, passed, listed, 0, Recovering},
		{Failed, failed, listed, 0, Failed},
		{Failed, dialFailed, listed, 0, Failed},

		// The registration address, once the servers' own are known.
		{Standby, dialed, alone, 1, Standby},
		{Standby, dialFailed, alone, 0, Failed},
		{Failed, dialed, alone, 1, Standby},
		{Active, dialed, alone, 1, Standby},
		// … and when it is one of these.
		{Standby, dialed, listed, 1, Recovering},

		{Invalid, dialed, listed, 1, Invalid},
		{Invalid, passed, listed, 1, Invalid},
	} {
		if got := next(tt.from, tt.event, tt.listed, tt.connections); got != tt.want {
			t.Errorf("next(%s, event %d, listed %t, %d connections) = %s, want %s", tt.from, tt.event, tt.listed, tt.connections, got, tt.want)
		}
	}
}
