// SPDX-License-Identifier: Apache-2.0

package efiaddon

// efiArchitecture is in the names of EFI programs for this processor.
const efiArchitecture = "x64"
