// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var serverPowerCuts = Scenario{
	Name:   "server-power-cuts",
	Suite:  SuiteAll,
	Shows:  "ten power cuts at random moments while ConfigMaps are written: the server comes back each time with all that it had acknowledged",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const (
			cuts      = 10
			namespace = "power-cuts"
			// Between the first acknowledged write after a boot and the cut.
			longest = 20 * time.Second
		)
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		if err := cluster.Namespace(ctx, namespace); err != nil {
			return err
		}
		t.Note("seed %d: run with --seed %d to cut at the same moments", t.Seed, t.Seed)
		moments := t.Rand()
		w := &writer{cluster: cluster, namespace: namespace}
		for i := 1; i <= cuts; i++ {
			after := time.Duration(moments.Int64N(int64(longest)))
			if err := t.Step(fmt.Sprintf("cut %d of %d, after %s of writing", i, cuts, after.Round(time.Millisecond)), func() error {
				w.start(ctx)
				err := w.waitProgress(ctx)
				if err == nil {
					select {
					case <-time.After(after):
					case <-ctx.Done():
						err = ctx.Err()
					}
				}
				server.PowerCut()
				w.stop()
				return err
			}); err != nil {
				return err
			}
			if err := t.Step("the server comes back with everything acknowledged", func() error {
				if err := server.PowerOn(ctx); err != nil {
					return err
				}
				if _, err := server.WaitServer(ctx); err != nil {
					return err
				}
				return w.check(ctx, t)
			}); err != nil {
				return err
			}
		}
		return t.Step("the add-ons run again", func() error { return addonsRun(ctx, cluster) })
	},
}

// writer creates ConfigMaps, updates every third and deletes every fifth, and remembers what was acknowledged. A write
// whose answer never came may have happened or not, and is not judged.
type writer struct {
	cluster   *vm.Cluster
	namespace string

	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex // guards everything that follows
	next  int
	state map[string]string // acknowledged content by name; "" for an acknowledged deletion
	doubt map[string]bool   // names whose last write was not answered
	acked int               // in this life of the server
	last  error
}

const writtenKey = "written"

func (w *writer) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.done = make(chan struct{})
	w.mu.Lock()
	w.acked = 0
	if w.state == nil {
		w.state, w.doubt = map[string]string{}, map[string]bool{}
	}
	w.mu.Unlock()
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			w.write(ctx)
		}
	}()
}

func (w *writer) stop() {
	w.cancel()
	<-w.done
}

// waitProgress waits until writes are being acknowledged.
func (w *writer) waitProgress(ctx context.Context) error {
	return vm.Wait(ctx, "an acknowledged write", vm.ReadyTimeout, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.acked == 0 {
			return fmt.Errorf("the last one ended with: %w", w.last)
		}
		return nil
	})
}

func (w *writer) write(ctx context.Context) {
	w.mu.Lock()
	w.next++
	n := w.next
	w.mu.Unlock()
	maps := w.cluster.CoreV1().ConfigMaps(w.namespace)
	name := fmt.Sprintf("write-%06d", n)
	content := fmt.Sprintf("content of %d", n)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{writtenKey: content}}
	created, err := maps.Create(ctx, object, metav1.CreateOptions{})
	if !w.record(name, content, err) {
		// While the server is down each attempt fails at once or hangs; neither should make a busy loop.
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
		return
	}
	if n%3 == 0 {
		content += ", updated"
		created.Data[writtenKey] = content
		_, err := maps.Update(ctx, created, metav1.UpdateOptions{})
		if !w.record(name, content, err) {
			return
		}
	}
	if n%5 == 0 {
		w.record(name, "", maps.Delete(ctx, name, metav1.DeleteOptions{}))
	}
}

func (w *writer) record(name, content string, err error) (acknowledged bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err
	if err != nil {
		w.doubt[name] = true
		return false
	}
	w.state[name] = content
	w.acked++
	return true
}

// check compares what the server has with what it acknowledged.
func (w *writer) check(ctx context.Context, t *T) error {
	var list *corev1.ConfigMapList
	if err := vm.Wait(ctx, "the list of ConfigMaps", vm.ReadyTimeout, func(ctx context.Context) (err error) {
		list, err = w.cluster.CoreV1().ConfigMaps(w.namespace).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			return vm.Never("%w", err)
		}
		return err
	}); err != nil {
		return err
	}
	has := map[string]string{}
	for i := range list.Items {
		has[list.Items[i].Name] = list.Items[i].Data[writtenKey]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := w.lost(has)
	t.Note("%d objects acknowledged in all, %d in the last life, %d unanswered", len(w.state), w.acked, len(w.doubt))
	const show = 10
	if len(lost) > show {
		lost = append(lost[:show:show], fmt.Errorf("and %d more", len(lost)-show))
	}
	return errors.Join(lost...)
}

// lost says what was acknowledged, and not put in doubt later, and is not as it should be.
func (w *writer) lost(has map[string]string) []error {
	var lost []error
	for name, want := range w.state {
		if got := has[name]; got != want && !w.doubt[name] {
			lost = append(lost, fmt.Errorf("%s was acknowledged as %q and is %q", name, want, got))
		}
	}
	return lost
}
