// SPDX-License-Identifier: Apache-2.0

package configschema

// Role is what a machine is in its cluster.
type Role string

// The roles. Both run pods; a server also runs the control plane.
const (
	RoleServer Role = "server"
	RoleAgent  Role = "agent"
)
