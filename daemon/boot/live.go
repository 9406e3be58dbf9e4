// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/install"
	"github.com/skerry-os/skerry/daemon/nodeaddr"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/unit"
)

// Live is what a live system does with itself. A boot that has one starts no Kubernetes.
type Live struct {
	// Disks lists the disks there are.
	Disks func(ctx context.Context) ([]install.Disk, error)
	// Install installs to one of them.
	Install func(ctx context.Context, disk install.Disk, wipe bool, document *source.Document, section *configschema.Storage) error
	// PowerOff asks for the machine to be switched off, and returns.
	PowerOff func(ctx context.Context) error
}

// The units that ask a person at the console where to install to. The screen and the serial line are two.
var installerUnits = []string{"skerry-installer@console.service", "skerry-installer@tty1.service"}

// livePhases are those of a live system: its network and its users are those of the cloud-config, where there is one, and
// then it installs itself, or waits to be told to.
func (b *Boot) livePhases() []phase.Phase {
	return []phase.Phase{
		{Name: "early", Run: b.liveEarly},
		{Name: "network", Run: b.liveNetwork},
		{Name: "install", Run: b.install},
	}
}

// liveEarly is early, for a system that does without a cloud-config.
func (b *Boot) liveEarly(ctx context.Context) error {
	b.Log.Info("this is a live system: nothing of it is kept, and no Kubernetes is started")
	return b.without(b.early(ctx))
}

// without makes nothing of there being no cloud-config.
func (b *Boot) without(err error) error {
	if errors.Is(err, config.ErrNone) || errors.Is(err, source.ErrMissing) {
		b.Log.Info("there is no cloud-config for this machine; an installed system looks for one when it boots")
		return nil
	}
	return err
}

// liveNetwork fetches a cloud-config that is on the network. One that is here already is installed without a network.
func (b *Boot) liveNetwork(ctx context.Context) error {
	if b.loaded != nil || b.loader.Sources.Network == nil && !b.loader.Waits() {
		return nil
	}
	if err := nodeaddr.WaitAny(ctx, cmp.Or(b.addressLimit, addressLimit), b.Log); err != nil {
		return err
	}
	loaded, err := b.fetch(ctx)
	return b.without(b.configure(ctx, loaded, err))
}

// applyLive makes a live system what its cloud-config says, as far as somebody who logs in to it needs.
func (b *Boot) applyLive(ctx context.Context, loaded *config.Loaded) error {
	return b.apply(ctx, apply.InstallerStages(), loaded)
}

// install installs where the cloud-config says so, and else asks who is at the console.
func (b *Boot) install(ctx context.Context) error {
	if b.loaded == nil || b.loaded.Config.Skerry.Install == nil {
		b.Log.Info("live system: run `skerry install`")
		b.tell("live system: waits for skerry install")
		return b.askAtConsole(ctx)
	}
	rule := *b.loaded.Config.Skerry.Install
	disks, err := b.Live.Disks(ctx)
	if err != nil {
		return err
	}
	disk, err := install.Choose(rule, disks)
	if err != nil {
		return errors.Join(err, b.askAtConsole(ctx))
	}
	b.Log.Info(fmt.Sprintf("installing to %s: %s, model %q, serial %q", disk.Path, install.Size(disk.Bytes), disk.Model, disk.Serial))
	begun := time.Now()
	if err := b.Live.Install(ctx, disk, rule.Wipe, b.loaded.Given, b.loaded.Config.Skerry.Storage); err != nil {
		return errors.Join(err, b.askAtConsole(ctx))
	}
	b.Log.Info(fmt.Sprintf("installed to %s in %.0f seconds", disk.Path, time.Since(begun).Seconds()))
	switch rule.Reboot.Effective() {
	case configschema.AfterReboot:
		return b.reboot(ctx, "into the installed system")
	case configschema.AfterPowerOff:
		b.tell("installed; switching off")
		if err := b.Live.PowerOff(ctx); err != nil {
			return fmt.Errorf("switch off: %w; do it by hand: the system is installed", err)
		}
		<-ctx.Done()
		return ctx.Err()
	case configschema.AfterStay:
		b.tell("installed to " + disk.Path)
		b.Log.Info("take the medium out, and reboot into the installed system")
	}
	return nil
}

// askAtConsole starts what asks a person where to install to.
func (b *Boot) askAtConsole(ctx context.Context) error {
	for _, name := range installerUnits {
		if err := unit.Start(ctx, b.Units, name); err != nil {
			return err
		}
	}
	return nil
}
