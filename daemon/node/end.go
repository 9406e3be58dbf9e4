// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
)

// stopTimeout bounds the time that components get to end. kube-proxy ends with the
// process only, and pods go on without any of them.
const stopTimeout = 5 * time.Second

// waitEnd waits until ctx, that of the components, ends, and then for wait, which
// waits for the components. It returns why they ended, after stopTimeout too.
func waitEnd(ctx context.Context, wait func() error) error {
	done := make(chan error, 1)
	go func() { done <- wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// The kubelet's command knows no context; it ends by a signal, or by this.
	genericapiserver.RequestShutdown()
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return context.Cause(ctx)
	}
}
