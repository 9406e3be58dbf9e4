// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const k3sHead = `# K3s' keys

Every key of K3s' ` + "`config.yaml`" + `, which is every flag of ` + "`k3s server`" + ` and ` + "`k3s agent`" + `, and what becomes of it
below ` + "`skerry.cluster`" + `. A key that is supported means what it means to K3s; what it means is told in
[cloud-config.md](cloud-config.md). One that is not is refused by name, with the reason: none is passed over in silence.
This page is made by ` + "`go generate ./config-schema`" + `, and a test fails when it is stale.

| key | in K3s on | state | |
|---|---|---|---|
`

// k3sPage lists K3s' keys.
func k3sPage() []byte {
	var page strings.Builder
	page.WriteString(k3sHead)
	for _, key := range configschema.K3sKeys() {
		on := "server, agent"
		switch {
		case !key.Agents:
			on = "server"
		case !key.Servers:
			on = "agent"
		}
		state := "refused"
		if key.Supported {
			state = "works"
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", key.Name, on, state, cell(key.Note))
	}
	return []byte(page.String())
}
