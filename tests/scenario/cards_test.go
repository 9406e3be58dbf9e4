// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// TestNetworksAreValid: a machine with an invalid one boots for minutes until that shows.
func TestNetworksAreValid(t *testing.T) {
	_, public, err := wireGuardKey()
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$MAC", "52:54:00:12:7f:0b", "$UPLINK", "52:54:00:12:7f:0b", "$STORAGE", "52:54:01:12:7f:0b", "$OWN", public, "$PEER", public)
	for name, network := range map[string]string{
		"by MAC and path": byMACAndPath, "by name and driver": byNameAndDriver, "bonded": bondedNetwork, "tunnel": tunnelNetwork, "moving": movingNetwork,
	} {
		text := "#cloud-config\n" + clockless + "  network:\n" + fill.Replace(network)
		if _, problems := configschema.Parse("user-data", []byte(text)); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}
