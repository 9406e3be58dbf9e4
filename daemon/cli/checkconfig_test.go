// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/checkconfig"
	"github.com/skerry-os/skerry/daemon/command"
)

// TestCheckConfig runs on whatever machine this is.
func TestCheckConfig(t *testing.T) {
	code, stdout, stderr := run("check-config", "-o", "json")
	var checks []checkconfig.Check
	if err := json.Unmarshal([]byte(stdout), &checks); err != nil || len(checks) == 0 {
		t.Fatalf("%v\n%s", err, stdout)
	}
	want := command.ExitOK
	if checkconfig.Worst(checks) == checkconfig.Failed {
		want = command.ExitFailed
	}
	if code != want || (want == command.ExitFailed) != strings.Contains(stderr, "lacks something") {
		t.Errorf("exit code %d, want %d; %s", code, want, stderr)
	}
	if code, _, stderr := run("check-config", "--cluster-cidr", "10.0.0.0/8", "nonsense"); code != command.ExitUsage {
		t.Errorf("an argument: exit code %d, %s", code, stderr)
	}
}

func TestChecksText(t *testing.T) {
	checks := []checkconfig.Check{
		{Group: "kernel", Name: "CONFIG_VETH", State: checkconfig.OK, Found: "module"},
		{Group: "cgroups", Name: "io", State: checkconfig.Warning, Found: "missing", Hint: "counting"},
		{Group: "programs", Name: "crun", State: checkconfig.Failed, Found: "missing", Hint: "containers"},
	}
	const some = "warning  cgroups   io    missing  counting\nfailed   programs  crun  missing  containers\n\n1 ok, 1 warnings, 1 failed\n"
	if got := checksText(checks, false); got != some {
		t.Errorf("got\n%s", got)
	}
	if got := checksText(checks, true); !strings.Contains(got, "CONFIG_VETH") {
		t.Errorf("got\n%s", got)
	}
	if got := checksText(checks[:1], false); got != "1 ok, 0 warnings, 0 failed\n" {
		t.Errorf("got\n%s", got)
	}
}
