// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var upgradeRootless = Scenario{
	Name:   "upgrade-rootless",
	Suite:  SuiteAll,
	Shows:  "a version whose initrd finds no root file system is tried three times; the machine boots the version before by itself, and says what was wrong",
	OwnLab: true,
	// The last one counts: no disk has this root.
	Run: unbootable(false, "roothash="+strings.Repeat("f", 64), vm.Allowance{
		Re:     regexp.MustCompile(`Dependency failed for |Timed out waiting for device|systemd-veritysetup@root|sysroot\.mount`),
		Reason: "the payload has no root",
	}),
}
