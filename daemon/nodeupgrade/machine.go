// SPDX-License-Identifier: Apache-2.0

package nodeupgrade

import "context"

// Machine is what a machine can do about its own image.
type Machine interface {
	Status(ctx context.Context) (Status, error)
	// Check verifies the signature of what source has, and that it could be applied. It changes nothing.
	Check(ctx context.Context, source string) (Offer, error)
	// Apply writes version, which source has, to the slot that isn't proven, for the next boot to try. It goes on where an
	// earlier one was interrupted, and does not reboot.
	Apply(ctx context.Context, source, version string) error
	// Reboot returns once the machine has begun to shut down.
	Reboot(ctx context.Context) error
}

// Status is which image runs.
type Status struct {
	Running string
	// OnTrial is whether the running image has yet to prove itself.
	OnTrial bool
	// GaveUp is the version that a boot was last given up of, and Reason why; empty where none was.
	GaveUp, Reason string
}

func (s Status) reason(version string) string {
	if s.GaveUp != version || s.Reason == "" {
		return version + " did not come so far that it could tell why"
	}
	return s.Reason
}

// Offer is what a payload is.
type Offer struct {
	// Version is the image's, and Kubernetes that of the Kubernetes in it, "v1.37.2".
	Version, Kubernetes string
}
