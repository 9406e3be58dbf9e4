// SPDX-License-Identifier: Apache-2.0

package supervisor

// Reasons of Events. Those of passwords are K3s'.
const (
	reasonPasswordComplete = "NodePasswordValidationComplete"
	reasonPasswordFailed   = "NodePasswordValidationFailed"
	reasonDuplicate        = "DuplicateNode"
)
