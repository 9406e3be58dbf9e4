// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// controllersTimeout bounds the wait for the controllers of a new cluster. Flags may have turned off what it waits for.
const controllersTimeout = time.Minute

// waitControllers waits until the controllers of a new cluster work: until the ServiceAccount is there that pods of the
// add-ons need. Before it is, add-ons have nothing to run with, and applying them would take processor time from the
// controllers, which the node waits for too. It returns an error only when ctx ends.
func waitControllers(ctx context.Context, client kubernetes.Interface) error {
	// Whatever the error, the add-ons' own retries are the place for it.
	_ = wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, controllersTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	return ctx.Err()
}
