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
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/nodeaddr"
	"github.com/skerry-os/skerry/daemon/source"
)

const (
	// addressLimit is how long the default network gets before its source of the
	// cloud-config is asked anyway: some are reached by a link-local address.
	addressLimit = 30 * time.Second
	// fetchPause is between two attempts at a source that doesn't answer.
	fetchPause = 10 * time.Second
)

// early brings the machine to what the cloud-config says, without the network.
// Where no medium has all of one, the machine stays as the image made it until the
// next phase has fetched the rest: with the network that a medium defines, or else
// DHCP on every interface.
func (b *Boot) early(ctx context.Context) error {
	sources, err := b.Sources()
	if err != nil {
		return fmt.Errorf("find the sources of the cloud-config: %w", err)
	}
	b.loader = &config.Loader{Sources: sources, Around: b.Around, Log: b.Log}
	loaded, err := b.loader.Local(ctx)
	if errors.Is(err, config.ErrNetwork) {
		b.Log.Info(err.Error())
		return b.interim(ctx)
	}
	return b.configure(ctx, loaded, err)
}

// interim brings up the network as far as it is known, for the cloud-config to
// come over it. What is wrong with it is told with the rest, if it is still wrong
// then.
func (b *Boot) interim(ctx context.Context) error {
	network, problems := b.loader.Interim()
	for _, p := range problems {
		b.Log.Warn("the network is not defined yet", "problem", p)
	}
	if network == nil {
		return nil
	}
	return b.apply(ctx, apply.InterimStages(), &config.Loaded{Network: network})
}

// network fetches the cloud-config where no medium had all of it, and waits until this
// machine has the address of its node.
func (b *Boot) network(ctx context.Context) error {
	if b.loaded == nil {
		if err := nodeaddr.WaitAny(ctx, cmp.Or(b.addressLimit, addressLimit), b.Log); err != nil {
			return err
		}
		loaded, err := b.fetch(ctx)
		if err := b.configure(ctx, loaded, err); err != nil {
			return err
		}
	}
	address, err := nodeaddr.Wait(ctx, b.loaded.Config.Skerry.Cluster, b.loaded.Network, b.Log)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.address = address
	b.mu.Unlock()
	b.Log.Info("network is up", "address", address)
	if reporter := b.loader.Sources.Reporter; reporter != nil {
		go b.report(ctx, reporter)
	}
	return nil
}

// fetch asks the source of the network until it answers: a machine that has
// nothing else to go by had better come up late than not at all. An answer that
// there is nothing is one: the boot ends, with what to do on the console.
func (b *Boot) fetch(ctx context.Context) (*config.Loaded, error) {
	for {
		loaded, err := b.loader.Network(ctx)
		if !errors.Is(err, source.ErrNoAnswer) {
			return loaded, err
		}
		b.Log.Error(err.Error() + "; asking again")
		b.tell("waiting for the cloud-config: " + err.Error())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(cmp.Or(b.fetchPause, fetchPause)):
		}
	}
}

// report doesn't hold up the boot: what the cloud thinks of this machine is no
// condition for its node to be Ready.
func (b *Boot) report(ctx context.Context, reporter source.Reporter) {
	if err := reporter.ReportReady(ctx); err != nil {
		b.Log.Warn(err.Error())
		return
	}
	b.Log.Info("the cloud has been told that this machine is ready")
}

// configure makes the machine what a loaded cloud-config says, or says on the
// console what is wrong with it.
func (b *Boot) configure(ctx context.Context, loaded *config.Loaded, err error) error {
	var problems configschema.Problems
	if errors.As(err, &problems) {
		b.mu.Lock()
		b.problems = problems
		b.mu.Unlock()
		for _, line := range config.Console(problems) {
			b.Log.Error(line)
		}
		return fmt.Errorf("the cloud-config has %d problem(s); nothing of it was applied and Kubernetes was not started", len(problems))
	}
	if err != nil {
		return err
	}
	if err := b.setCurrent(loaded); err != nil {
		return err
	}
	b.mu.Lock()
	b.booted = loaded
	b.mu.Unlock()
	b.Log.Info("cloud-config is valid", "source", loaded.Document.Source, "instance-id", loaded.Document.InstanceID)
	if b.Live != nil {
		return b.applyLive(ctx, loaded)
	}
	if err := b.reset(ctx, loaded); err != nil {
		return err
	}
	if err := b.storage(ctx, loaded); err != nil {
		return err
	}
	if err := b.renew(ctx, loaded.InstanceID); err != nil {
		return err
	}
	if err := b.kernelArgs(ctx, loaded); err != nil {
		return err
	}
	return b.apply(ctx, apply.Stages(), loaded)
}

// current is the configuration that the machine has now.
func (b *Boot) current() *config.Loaded {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loaded
}

func (b *Boot) setCurrent(loaded *config.Loaded) error {
	b.mu.Lock()
	b.loaded = loaded
	b.mu.Unlock()
	if b.ConfigFile == "" {
		return nil
	}
	return loaded.Layers.Publish(b.ConfigFile)
}

// apply runs stages that the machine can't do without.
func (b *Boot) apply(ctx context.Context, stages []apply.Stage, loaded *config.Loaded) error {
	for _, stage := range stages {
		started := time.Now()
		if err := stage.Run(ctx, b.Machine, loaded); err != nil {
			return fmt.Errorf("apply %s: %w", stage.Name, err)
		}
		b.Log.Debug("applied "+stage.Name, "took", time.Since(started))
	}
	return nil
}

// renew gives the machine an identity of its own when its disk is a copy of
// another instance's. The machine-id was set in the initrd and is known all
// over the machine by now, so that only a reboot makes it new everywhere.
// Nothing has been applied yet, and nothing is after it.
func (b *Boot) renew(ctx context.Context, instanceID string) error {
	previous, renewed, err := identity.Renew(b.StateDir, instanceID)
	if err != nil || !renewed {
		return err
	}
	b.Log.Warn(fmt.Sprintf("the disk of this machine is a copy: it was instance %q, and is %q now", previous, instanceID))
	b.Log.Warn("its machine-id, SSH host keys, node password and node id are removed; rebooting to make new ones")
	return b.reboot(ctx, "with a new identity")
}

// kernelArgs has the kernel started with the arguments of the configuration, by
// a reboot where it wasn't. Kubernetes has not been started yet.
func (b *Boot) kernelArgs(ctx context.Context, loaded *config.Loaded) error {
	needed, err := apply.BootKernelArgs(b.Machine, loaded)
	if errors.Is(err, apply.ErrSecureBoot) {
		// A machine that nobody can log in to would be worse than one without them.
		b.Log.Error(err.Error() + "; the machine goes on without them")
		return nil
	}
	if err != nil || !needed {
		return err
	}
	b.Log.Warn("the kernel was started with other arguments than skerry.kernel.args has; rebooting once")
	return b.reboot(ctx, "with other kernel arguments")
}

// reboot doesn't return while the reboot is under way.
func (b *Boot) reboot(ctx context.Context, why string) error {
	b.tell("rebooting " + why)
	if err := b.Reboot(ctx); err != nil {
		return fmt.Errorf("reboot %s: %w; reboot this machine by hand", why, err)
	}
	<-ctx.Done()
	return ctx.Err()
}
