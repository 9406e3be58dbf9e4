// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

const (
	// How long new connections, and watches, may be without a server when one stops in order.
	maxWithoutList  = time.Second
	maxWithoutWatch = 5 * time.Second
	// lbBeat is how often something is listed, and changed for the watch to see.
	lbBeat = 100 * time.Millisecond
)

var lbFailover = Scenario{
	Name:   "lb-failover",
	Suite:  SuiteAll,
	Shows:  "each server is stopped in turn: who lists through an agent's load balancer goes on within a second, who watches within five",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		k, err := t.keep(ctx, database.Postgres)
		if err != nil {
			return err
		}
		defer k.close()
		c, err := t.haCluster(ctx, k)
		if err != nil {
			return err
		}
		agent := c.agents[0]
		for range c.servers {
			if err := t.Step("the server in use is stopped, and started again", func() error {
				used, err := inUse(ctx, agent, c.servers)
				if err != nil {
					return err
				}
				var other *vm.Machine
				for _, m := range c.servers {
					if m != used {
						other = m
					}
				}
				b, err := startBeat(ctx, used, other, agent)
				if err != nil {
					return err
				}
				defer b.stop()
				if err := b.wait(ctx, 20); err != nil {
					return err
				}
				if _, err := used.Run(ctx, "sudo systemctl stop skerry-control.service"); err != nil {
					return err
				}
				if err := b.wait(ctx, 50); err != nil {
					return err
				}
				b.stop()
				t.Note("%s; without an answer to a list for %.2fs, without news of the watch for %.2fs, %d lists failed",
					used.Name(), b.listing.longest.Seconds(), b.watching.longest.Seconds(), b.failed)
				if b.listing.longest > maxWithoutList {
					return fmt.Errorf("no list was answered for %s, want at most %s", b.listing.longest, maxWithoutList)
				}
				if b.watching.longest > maxWithoutWatch {
					return fmt.Errorf("the watch was silent for %s, want at most %s", b.watching.longest, maxWithoutWatch)
				}
				if _, err := used.Run(ctx, "sudo systemctl start skerry-control.service"); err != nil {
					return err
				}
				if _, err := used.WaitServer(ctx); err != nil {
					return err
				}
				// Its tunnel to the agent counts, not only its own node.
				return vm.Wait(ctx, "the agent to have "+used.Name()+" again", time.Minute, func(ctx context.Context) error {
					return listed(ctx, agent, used)
				})
			}); err != nil {
				return err
			}
		}
		return nil
	},
}

// listed checks that an agent's load balancer has a server as one that is there.
func listed(ctx context.Context, agent, server *vm.Machine) error {
	_, err := agent.Run(ctx, fmt.Sprintf("sudo skerry status | grep -E '%s:6443 +(ACTIVE|PREFERRED|HEALTHY|RECOVERING) +up'", server.Address()))
	return err
}

// beat changes an object through a server that stays, and lists and watches it through an agent.
type beat struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu                sync.Mutex // guards what follows
	listing, watching rhythm
	lists, failed     int
	last              error
}

// rhythm is how regularly something happens.
type rhythm struct {
	at      time.Time
	longest time.Duration
}

func (r *rhythm) happened() {
	now := time.Now()
	r.longest = max(r.longest, now.Sub(r.at))
	r.at = now
}

func startBeat(ctx context.Context, used, stays, agent *vm.Machine) (*beat, error) {
	const balancer = "127.0.0.1:6444"
	// A client of its own for each list would be a connection for each; one that keeps none alive is the same.
	lists, err := used.ClusterFrom(ctx, agent, balancer, 10*time.Second)
	if err != nil {
		return nil, err
	}
	watches, err := used.ClusterFrom(ctx, agent, balancer, 0)
	if err != nil {
		return nil, err
	}
	changes, err := stays.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &beat{cancel: cancel}
	factory := informers.NewSharedInformerFactoryWithOptions(watches, 0, informers.WithNamespace(metav1.NamespaceDefault),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "metadata.name=beat" }))
	informer := factory.Core().V1().ConfigMaps().Informer()
	tell := func(any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watching.happened()
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, now any) { tell(now) }}); err != nil {
		cancel()
		return nil, err
	}
	b.listing.at, b.watching.at = time.Now(), time.Now()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	b.repeat(ctx, func(n int) {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "beat"}, Data: map[string]string{"n": fmt.Sprint(n)}}
		_, err := changes.CoreV1().ConfigMaps(metav1.NamespaceDefault).Update(ctx, object, metav1.UpdateOptions{})
		if err != nil {
			_, err = changes.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx, object, metav1.CreateOptions{})
		}
		b.note(err)
	})
	b.repeat(ctx, func(int) {
		_, err := lists.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		b.note(err)
		b.mu.Lock()
		defer b.mu.Unlock()
		if err != nil {
			b.failed++
			return
		}
		b.lists++
		b.listing.happened()
	})
	return b, nil
}

func (b *beat) note(err error) {
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.last = err
	}
}

func (b *beat) repeat(ctx context.Context, do func(n int)) {
	b.wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			do(n)
			select {
			case <-ctx.Done():
			case <-time.After(lbBeat):
			}
		}
	})
}

// wait waits for so many more lists.
func (b *beat) wait(ctx context.Context, lists int) error {
	b.mu.Lock()
	want := b.lists + lists
	b.mu.Unlock()
	return vm.Wait(ctx, fmt.Sprintf("%d lists", lists), time.Minute, func(context.Context) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.lists < want {
			return fmt.Errorf("%d are missing; the last failure: %w", want-b.lists, b.last)
		}
		return nil
	})
}

func (b *beat) stop() {
	b.cancel()
	b.wg.Wait()
}
