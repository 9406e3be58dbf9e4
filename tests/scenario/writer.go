// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// writer creates ConfigMaps, updates every third and deletes every fifth, and remembers what was acknowledged. A write
// whose answer never came may have happened or not, and is not judged.
type writer struct {
	cluster   *vm.Cluster
	namespace string
	// pause is between two objects, so that their number says how long it went on; none without.
	pause time.Duration
	// padding is how many bytes each object has besides.
	padding int

	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex // guards everything that follows
	next  int
	state map[string]string // acknowledged content by name; "" for an acknowledged deletion
	doubt map[string]bool   // names whose last write was not answered
	acked int               // since start
	last  error
	// answered is when the last write was acknowledged, and silent the longest time without one since start.
	answered time.Time
	silent   time.Duration
}

// throughAgent returns a writer that writes through the load balancer of an agent, as everything on that agent does.
func throughAgent(ctx context.Context, server, agent *vm.Machine) (*writer, error) {
	client, err := server.ClusterFrom(ctx, agent, "127.0.0.1:6444", writeTimeout)
	if err != nil {
		return nil, err
	}
	w := &writer{cluster: client, namespace: "writer", pause: 100 * time.Millisecond}
	patient, err := server.WaitAPI(ctx) // what is prepared isn't what is measured
	if err != nil {
		return nil, err
	}
	return w, patient.Namespace(ctx, w.namespace)
}

// writeTimeout is for one write through an agent: the next may be answered by another server.
const writeTimeout = 2 * time.Second

const writtenKey = "written"

func (w *writer) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.done = make(chan struct{})
	w.mu.Lock()
	w.acked, w.answered, w.silent = 0, time.Now(), 0
	if w.state == nil {
		w.state, w.doubt = map[string]string{}, map[string]bool{}
	}
	w.mu.Unlock()
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			w.write(ctx)
			if w.pause > 0 {
				select {
				case <-ctx.Done():
				case <-time.After(w.pause):
				}
			}
		}
	}()
}

// stop returns the longest time without an acknowledged write since start.
func (w *writer) stop() time.Duration {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent
}

// waitProgress waits until n more writes have been acknowledged.
func (w *writer) waitProgress(ctx context.Context, n int) error {
	w.mu.Lock()
	want := w.acked + n
	w.mu.Unlock()
	return vm.Wait(ctx, fmt.Sprintf("%d acknowledged writes", n), vm.ReadyTimeout, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.acked < want {
			return fmt.Errorf("%d are missing; the last one ended with: %w", want-w.acked, w.last)
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
	content := fmt.Sprintf("content of %d", n) + strings.Repeat(" ", w.padding)
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
	w.silent = max(w.silent, time.Since(w.answered))
	w.answered = time.Now()
	return true
}

// waitRefused waits until n more writes have not been acknowledged, and returns what the last was answered.
func (w *writer) waitRefused(ctx context.Context, n int) (last error, err error) {
	w.mu.Lock()
	want := len(w.doubt) + n
	w.mu.Unlock()
	err = vm.Wait(ctx, fmt.Sprintf("%d refused writes", n), vm.ReadyTimeout, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if last = w.last; len(w.doubt) < want {
			return fmt.Errorf("%d are missing", want-len(w.doubt))
		}
		return nil
	})
	return last, err
}

// check compares what the server has with what it acknowledged.
func (w *writer) check(ctx context.Context, t *T, cluster *vm.Cluster) error {
	var list *corev1.ConfigMapList
	if err := vm.Wait(ctx, "the list of ConfigMaps", vm.ReadyTimeout, func(ctx context.Context) (err error) {
		list, err = cluster.CoreV1().ConfigMaps(w.namespace).List(ctx, metav1.ListOptions{})
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
	t.Note("%d objects acknowledged in all, %d since the last start, %d unanswered", len(w.state), w.acked, len(w.doubt))
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
			lost = append(lost, fmt.Errorf("%s was acknowledged as %.40q and is %.40q", name, want, got))
		}
	}
	return lost
}
