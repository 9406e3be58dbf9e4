// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/skerry-os/skerry/daemon/tunnel"
)

// watchPods tells the tunnel server on which node each pod is, until ctx ends.
func (s *Server) watchPods(ctx context.Context, client kubernetes.Interface) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(tunnel.StripPod))
	defer factory.Shutdown()
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.tunnel.SetPod(obj.(*corev1.Pod)) },
		UpdateFunc: func(_, obj any) { s.tunnel.SetPod(obj.(*corev1.Pod)) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				s.tunnel.DeletePod(pod)
			}
		},
	})
	if err != nil {
		s.log.Error("pods aren't watched, and are not reached through tunnels", "error", err)
		return
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
}
