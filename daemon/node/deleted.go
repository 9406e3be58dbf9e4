// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// errDeleted ends the process, which is started again: the kubelet registers its
// Node only once, and the certificate of a deleted Node is worth nothing.
var errDeleted = errors.New("the Node was deleted; this machine joins again")

// waitDeleted returns errDeleted when this node's Node is deleted, or nil when
// ctx ends. One that is gone and there again within a pause of the watch has
// another UID. It calls watching once it sees every deletion from then on: a Node
// that is deleted as soon as it is registered would otherwise never come back.
func waitDeleted(ctx context.Context, client kubernetes.Interface, name string, watching func()) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	}))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	deleted := func() { cancel(errDeleted) }
	handler, err := factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, now any) {
			if before.(metav1.Object).GetUID() != now.(metav1.Object).GetUID() {
				deleted()
			}
		},
		DeleteFunc: func(any) { deleted() },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		watching()
	}
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errDeleted) {
		return errDeleted
	}
	return nil
}
