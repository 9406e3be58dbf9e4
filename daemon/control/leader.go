// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseName is K3s' name of the Lease that its controllers hold.
const leaseName = "k3s"

// Upstream's times of its own components: a server that is gone is replaced after leaseDuration.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// whileLeading runs fn on one server of the cluster at a time, until ctx ends or fn returns. A server that loses the Lease
// ends fn, and competes again.
func whileLeading(ctx context.Context, client kubernetes.Interface, shared bool, opts Options, fn func(context.Context) error) error {
	if !shared {
		return fn(ctx)
	}
	for ctx.Err() == nil {
		if ended, err := leadOnce(ctx, client, opts, fn); ended {
			return err
		}
	}
	return ctx.Err()
}

// leadOnce waits for the Lease, runs fn while it is held, and reports whether fn ended by itself.
func leadOnce(ctx context.Context, client kubernetes.Interface, opts Options, fn func(context.Context) error) (ended bool, err error) {
	type result struct {
		err   error
		ended bool
	}
	results := make(chan result, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: leaseName,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaseName},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: opts.NodeName},
		},
		LeaseDuration:   leaseDuration,
		RenewDeadline:   renewDeadline,
		RetryPeriod:     retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				opts.Log.Info("this server runs the cluster's add-ons")
				err := fn(ctx)
				results <- result{err, ctx.Err() == nil}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return true, fmt.Errorf("elect the server that runs the add-ons: %w", err)
	}
	electing, stop := context.WithCancel(ctx)
	defer stop()
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		elector.Run(electing)
	}()
	select {
	case r := <-results:
		stop()
		<-lost
		return r.ended, r.err
	case <-lost:
	}
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	// It was held, or it could not have been lost.
	r := <-results
	return r.ended, r.err
}
