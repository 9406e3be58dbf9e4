// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/unit"
)

// willing is a systemd whose units are active as soon as they are started.
type willing struct{ *systemd }

func (willing) GetUnitPropertyContext(context.Context, string, string) (*dbus.Property, error) {
	return &dbus.Property{Name: "ActiveState", Value: godbus.MakeVariant("active")}, nil
}

func (willing) GetServicePropertyContext(_ context.Context, _, property string) (*dbus.Property, error) {
	if property == "NRestarts" {
		return &dbus.Property{Name: property, Value: godbus.MakeVariant(uint32(0))}, nil
	}
	return &dbus.Property{Name: property, Value: godbus.MakeVariant("")}, nil
}

// Only the import of images has another share of the processor than others.
func (willing) SetUnitPropertiesContext(_ context.Context, name string, _ bool, _ ...dbus.Property) error {
	if name != unit.Images {
		return fmt.Errorf("%s is given another share of the processor", name)
	}
	return nil
}

// TestServerWithoutAgent starts the control plane, and nothing that runs pods; it
// is Ready without a node.
func TestServerWithoutAgent(t *testing.T) {
	for _, test := range []struct {
		disabled configschema.Switch
		want     []string
		node     string
	}{
		{true, []string{"start " + unit.Control}, ""},
		{false, []string{"start " + unit.Control, "start " + unit.Node, "start " + unit.Images}, "a"},
	} {
		u := boot(t, ofMedium)
		u.systemd.take()
		u.started, u.Units, u.nodeName = nil, willing{u.systemd}, "a"
		u.section.DisableAgent = test.disabled
		if err := u.cluster(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := u.systemd.take(); !slices.Equal(got, test.want) {
			t.Errorf("disable-agent %t: systemd was asked to %q, want %q", test.disabled, got, test.want)
		}
		u.ready = true
		status := u.Status(t.Context())
		if !status.Ready || status.NoAgent != bool(test.disabled) || status.Node != test.node || status.Role != "server" {
			t.Errorf("disable-agent %t: the status is %+v", test.disabled, status)
		}
	}
}
