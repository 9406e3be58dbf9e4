// SPDX-License-Identifier: Apache-2.0

// Package version tells which Skerry this is. The build sets the variables
// from image/versions.env.
package version

import (
	"strconv"
	"time"
)

var (
	// Skerry is the version of the image and of this binary.
	Skerry = "dev"
	// Kubernetes is the version of the Kubernetes the image carries.
	Kubernetes = "unknown"
	// Epoch is the time stamped on everything of the image, in seconds since
	// 1970.
	Epoch = "0"
)

// Built returns when the image was built, as far as its bytes tell.
func Built() time.Time {
	seconds, err := strconv.ParseInt(Epoch, 10, 64)
	if err != nil {
		seconds = 0 // built by hand, with something else
	}
	return time.Unix(seconds, 0)
}
