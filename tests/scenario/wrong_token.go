// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"regexp"
)

var wrongToken = Scenario{
	Name:   "wrong-token",
	Suite:  SuiteTest,
	Shows:  "an agent with a wrong token says so on its console, tries again at a calm pace, and changes nothing on the server",
	Native: true,
	Run: func(ctx context.Context, t *T) error {
		return refusedAndUnchanged(ctx, t, "wrong-token", "agent-9", map[string]string{"token": "not-the-token"},
			regexp.MustCompile(`server https://\S+ refused the token: check skerry\.cluster\.token`))
	},
}
