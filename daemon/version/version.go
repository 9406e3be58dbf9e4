// SPDX-License-Identifier: Apache-2.0

// Package version tells which Skerry this is. The build sets the variables
// from image/versions.env.
package version

var (
	// Skerry is the version of the image and of this binary.
	Skerry = "dev"
	// Kubernetes is the version of the Kubernetes the image carries.
	Kubernetes = "unknown"
)
