// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// K3s' names of the Leases that its controllers hold. Upstream's components have their own names.
const (
	addonLease = "k3s"
	cloudLease = "k3s-cloud-controller-manager"
)

// upgradeLease is held by the server that carries UpgradePlans out. K3s has none.
const upgradeLease = "skerry-upgrade-plans"

// Upstream's times of its own components: a server that is gone is replaced after leaseDuration.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// errLeaseLost is for a component that can't be started twice in a process: systemd starts that again.
var errLeaseLost = errors.New("another server may run it now: its lease could not be renewed")

// elector lets one server of the cluster at a time run something. Upstream's components have an election of their own,
// which ends the process from inside when it is over, whatever else is still to be closed.
type elector struct {
	client kubernetes.Interface
	shared bool // whether there may be other servers
	node   string
	log    *slog.Logger
}

// lead waits until this server holds the Lease and runs fn, until ctx ends or fn returns. It returns errLeaseLost when fn
// was ended since the Lease is lost.
func (e elector) lead(ctx context.Context, lease string, fn func(context.Context) error) error {
	if !e.shared {
		return fn(ctx)
	}
	results := make(chan error, 1)
	elected, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: lease,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: lease},
			Client:     e.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.node},
		},
		LeaseDuration:   leaseDuration,
		RenewDeadline:   renewDeadline,
		RetryPeriod:     retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				e.log.Info("this server is the one that runs it", "lease", lease)
				results <- fn(ctx)
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("elect the server for %s: %w", lease, err)
	}
	electing, stop := context.WithCancel(ctx)
	defer stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		elected.Run(electing)
	}()
	select {
	case err := <-results: // fn ended by itself, or before Run noticed that the Lease is lost
		stop()
		<-over
		return err
	case <-over:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// It was held, or it could not be lost.
	<-results
	return errLeaseLost
}

// leadAgain is lead for what can be started any number of times.
func (e elector) leadAgain(ctx context.Context, lease string, fn func(context.Context) error) error {
	for {
		if err := e.lead(ctx, lease, fn); !errors.Is(err, errLeaseLost) {
			return err
		}
		e.log.Warn("another server may run it now", "lease", lease)
	}
}
