// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/skerry-os/skerry/daemon/nodepassword"
)

// deferredInterval is K3s' pause between attempts to store a node's password.
const deferredInterval = 5 * time.Second

// deferredNodes were admitted before their password could be stored.
type deferredNodes struct {
	mu     sync.Mutex
	claims map[string]deferredNode
	added  chan struct{}
}

// deferredNode is one of them.
type deferredNode struct {
	nodeClaim
	// failed: it has been told that the password couldn't be stored.
	failed bool
}

func newDeferredNodes() *deferredNodes {
	return &deferredNodes{claims: map[string]deferredNode{}, added: make(chan struct{}, 1)}
}

// add keeps the first claim of a name: who comes later and differs is found out
// by the comparison with its Secret.
func (d *deferredNodes) add(claim deferredNode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if first, ok := d.claims[claim.node]; ok {
		first.failed = first.failed || claim.failed
		claim = first
	}
	d.claims[claim.node] = claim
	select {
	case d.added <- struct{}{}:
	default:
	}
}

func (d *deferredNodes) list() []deferredNode {
	d.mu.Lock()
	defer d.mu.Unlock()
	claims := make([]deferredNode, 0, len(d.claims))
	for _, claim := range d.claims {
		claims = append(claims, claim)
	}
	return claims
}

func (d *deferredNodes) remove(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.claims, node)
}

// watchNodes does what needs kube-apiserver and no request: it stores deferred
// passwords, makes Nodes the owners of their Secrets, and tells the tunnel
// server which address is whose. It returns when ctx ends.
func (s *Server) watchNodes(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-s.ready:
	}
	a := s.apiserver.Load()
	factory := informers.NewSharedInformerFactoryWithOptions(a.client, 0, informers.WithTransform(strip))
	defer factory.Shutdown()
	informer := factory.Core().V1().Nodes().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			node := obj.(*corev1.Node)
			s.tunnel.SetNode(node)
			if err := a.passwords.Adopt(ctx, node); err != nil && ctx.Err() == nil {
				s.log.Warn("a node's password will outlive the node", "node", node.Name, "error", err)
			}
		},
		UpdateFunc: func(_, obj any) { s.tunnel.SetNode(obj.(*corev1.Node)) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if node, ok := obj.(*corev1.Node); ok {
				s.tunnel.DeleteNode(node.Name)
			}
		},
	})
	if err != nil {
		s.log.Error("nodes aren't watched", "error", err)
		return
	}
	factory.Start(ctx.Done())
	var tending sync.WaitGroup
	defer tending.Wait()
	if s.tunnel.WatchesPods() {
		tending.Go(func() { s.watchPods(ctx, a.client) })
	}
	tending.Go(func() { s.tendPasswords(ctx, a.passwords) })
	s.storeDeferred(ctx, a)
}

// sweepInterval is K3s'.
const sweepInterval = time.Minute

// tendPasswords takes over the passwords of an older server, and frees the names
// of nodes that never came, until ctx ends. What fails is tried again.
func (s *Server) tendPasswords(ctx context.Context, passwords *nodepassword.Store) {
	legacy := filepath.Join(s.config.DataDir, "cred", "node-passwd")
	told := ""
	tell := func(err error) {
		// The same line each minute would be noise.
		if err != nil && err.Error() != told && ctx.Err() == nil {
			told = err.Error()
			s.log.Error("node passwords need care", "error", err)
		}
	}
	for {
		migrated, err := passwords.Migrate(ctx, legacy)
		if len(migrated) > 0 {
			s.log.Info("node passwords of an older server are now Secrets", "nodes", migrated)
		}
		tell(err)
		freed, err := passwords.Sweep(ctx, time.Now())
		if len(freed) > 0 {
			s.log.Info("names of nodes that never came are free again", "nodes", freed)
		}
		tell(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepInterval):
		}
	}
}

// strip leaves of a Node what is used here: there may be hundreds, each with
// lists of images.
func strip(obj any) (any, error) {
	node, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion, Labels: node.Labels},
		Spec:       corev1.NodeSpec{PodCIDRs: node.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: node.Status.Addresses, DaemonEndpoints: node.Status.DaemonEndpoints},
	}, nil
}

// storeDeferred stores the passwords of nodes admitted without, until ctx ends.
func (s *Server) storeDeferred(ctx context.Context, a *apiserver) {
	for {
		for _, claim := range s.deferred.list() {
			s.storeDeferredNode(ctx, a, claim)
		}
		var retry <-chan time.Time
		if len(s.deferred.list()) > 0 {
			retry = time.After(deferredInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.deferred.added:
		case <-retry:
		}
	}
}

// storeDeferredNode tells of each failure once: it is tried every five seconds.
func (s *Server) storeDeferredNode(ctx context.Context, a *apiserver, claim deferredNode) {
	err := a.passwords.Ensure(ctx, claim.node, claim.password)
	switch {
	case err == nil:
		s.log.Info("node password is stored", "node", claim.node)
		if claim.failed {
			a.events.Normal(claim.node, reasonPasswordComplete, "the password, which couldn't be stored when the node was admitted, is stored")
		}
		s.deferred.remove(claim.node)
	case errors.Is(err, nodepassword.ErrMismatch):
		s.log.Error("a node was admitted with a password that isn't the one its name was registered with; "+
			"if this machine was reinstalled, delete the Node and restart it", "node", claim.node, "error", err)
		a.events.Warning(claim.node, reasonPasswordFailed, "the node was admitted with a password that isn't the one its name was "+
			"registered with; if the machine was reinstalled, delete the Node and restart it")
		s.deferred.remove(claim.node)
	case !claim.failed && ctx.Err() == nil:
		s.log.Warn("node password couldn't be stored; trying again", "node", claim.node, "error", err)
		a.events.Warning(claim.node, reasonPasswordFailed, notStored(err))
		claim.failed = true
		s.deferred.add(claim)
	}
}

func notStored(err error) string {
	return fmt.Sprintf("the node is admitted, and its password is checked and stored later, every %s until then: %v", deferredInterval, err)
}
