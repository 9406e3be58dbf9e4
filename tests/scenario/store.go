// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

// storeScenarios ask the same of every kind of datastore.
func storeScenarios() []Scenario {
	var all []Scenario
	for _, kind := range []database.Kind{sqlite, database.Postgres, database.MariaDB, database.Etcd, database.NATS, embeddedEtcd} {
		all = append(all, Scenario{
			Name:   "store-" + string(kind),
			Suite:  SuiteAll,
			Shows:  fmt.Sprintf("on %s the API keeps Kubernetes' promises: conflicts, watches, pages, sizes, expiry, compaction", kind),
			Native: true,
			OwnLab: true,
			Run:    func(ctx context.Context, t *T) error { return keepsPromises(ctx, t, kind) },
		})
	}
	return all
}

const (
	// storeTTL is how long the scenario's kube-apiserver keeps events, and storeCompaction how often it compacts.
	storeTTL        = 10 * time.Second
	storeCompaction = 10 * time.Second
	// keptRevisions is what kine never compacts.
	keptRevisions = 1000
)

func keepsPromises(ctx context.Context, t *T, kind database.Kind) error {
	k, err := t.keep(ctx, kind)
	if err != nil {
		return err
	}
	defer k.close()
	userData, err := t.storedConfig(k, serverName, nil,
		"event-ttl="+storeTTL.String(), "etcd-compaction-interval="+storeCompaction.String())
	if err != nil {
		return err
	}
	server, err := t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData})
	if err != nil {
		return err
	}
	cluster, err := server.WaitServer(ctx)
	if err != nil {
		return err
	}
	if err := cluster.Namespace(ctx, "store"); err != nil {
		return err
	}
	watcher, err := server.Watcher(ctx)
	if err != nil {
		return err
	}
	s := &store{
		cluster: cluster, server: server,
		maps: cluster.CoreV1().ConfigMaps("store"), watched: watcher.CoreV1().ConfigMaps("store"),
	}
	return t.Steps(
		step{"create, read, update and delete, with conflicts", func() error { return s.changes(ctx) }},
		step{"one of twenty who update the same version wins", func() error { return s.race(ctx) }},
		step{"a watch tells every change, in order", func() error { return s.watches(ctx) }},
		step{"a megabyte is kept, and more than the limit refused", func() error { return s.sizes(ctx) }},
		step{"an event expires", func() error { return s.expires(ctx) }},
		step{"pages of one moment, a watch through compaction, and old pages refused", func() error { return s.pages(ctx) }},
		step{"all of it is there after a restart", func() error { return s.restarts(ctx) }},
	)
}

type store struct {
	cluster *vm.Cluster
	server  *vm.Machine
	maps    corev1client.ConfigMapInterface
	watched corev1client.ConfigMapInterface // the same, for watches
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": value}}
}

func (s *store) changes(ctx context.Context) error {
	first, err := s.maps.Create(ctx, configMap("changes", "1"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := s.maps.Create(ctx, configMap("changes", "2"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("created again: %w", unexpected(err))
	}
	changed := first.DeepCopy()
	changed.Data["value"] = "2"
	second, err := s.maps.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	if second.ResourceVersion == first.ResourceVersion {
		return fmt.Errorf("the update kept version %s", first.ResourceVersion)
	}
	if _, err := s.maps.Update(ctx, changed, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("updated an old version: %w", unexpected(err))
	}
	old := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &first.ResourceVersion}}
	if err := s.maps.Delete(ctx, "changes", old); !apierrors.IsConflict(err) {
		return fmt.Errorf("deleted an old version: %w", unexpected(err))
	}
	got, err := s.maps.Get(ctx, "changes", metav1.GetOptions{})
	if err != nil || got.Data["value"] != "2" {
		return fmt.Errorf("read %q: %w", got.Data, err)
	}
	if err := s.maps.Delete(ctx, "changes", metav1.DeleteOptions{}); err != nil {
		return err
	}
	if _, err := s.maps.Get(ctx, "changes", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("read what was deleted: %w", unexpected(err))
	}
	// A deleted name is free again, and another object.
	again, err := s.maps.Create(ctx, configMap("changes", "3"), metav1.CreateOptions{})
	if err == nil && again.UID == first.UID {
		err = fmt.Errorf("the new object has the old one's UID")
	}
	return err
}

// unexpected is an error for what should have failed in one way, and did not or in another.
func unexpected(err error) error {
	if err == nil {
		return fmt.Errorf("no error")
	}
	return err
}

func (s *store) race(ctx context.Context) error {
	const clients = 20
	object, err := s.maps.Create(ctx, configMap("race", ""), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	for round := range 5 {
		errs := make(chan error, clients)
		for i := range clients {
			mine := object.DeepCopy()
			mine.Data["value"] = fmt.Sprintf("round %d, client %d", round, i)
			go func() {
				_, err := s.maps.Update(ctx, mine, metav1.UpdateOptions{})
				errs <- err
			}()
		}
		won := 0
		for range clients {
			switch err := <-errs; {
			case err == nil:
				won++
			case !apierrors.IsConflict(err):
				return err
			}
		}
		if won != 1 {
			return fmt.Errorf("%d of %d won", won, clients)
		}
		if object, err = s.maps.Get(ctx, "race", metav1.GetOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) watches(ctx context.Context) error {
	const changes = 50
	object, err := s.maps.Create(ctx, configMap("watched", "0"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	watching, err := s.watched.Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=watched", ResourceVersion: object.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer watching.Stop()
	for i := 1; i <= changes; i++ {
		object.Data["value"] = fmt.Sprint(i)
		if object, err = s.maps.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	if err := s.maps.Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		return err
	}
	for i := 1; i <= changes+1; i++ {
		event, err := next(ctx, watching)
		if err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
		got := event.Object.(*corev1.ConfigMap).Data["value"] //nolint:forcetypeassert // next has looked
		want, kind := fmt.Sprint(i), watch.Modified
		if i > changes {
			want, kind = fmt.Sprint(changes), watch.Deleted
		}
		if event.Type != kind || got != want {
			return fmt.Errorf("change %d is %s %q, want %s %q", i, event.Type, got, kind, want)
		}
	}
	return nil
}

// next returns a watch's next change of a ConfigMap.
func next(ctx context.Context, watching watch.Interface) (watch.Event, error) {
	select {
	case <-ctx.Done():
		return watch.Event{}, ctx.Err()
	case <-time.After(vm.Scaled(time.Minute)):
		return watch.Event{}, fmt.Errorf("no event")
	case event, ok := <-watching.ResultChan():
		if !ok {
			return event, fmt.Errorf("the watch ended")
		}
		if _, ok := event.Object.(*corev1.ConfigMap); !ok {
			return event, fmt.Errorf("got %s %v", event.Type, event.Object)
		}
		return event, nil
	}
}

func (s *store) sizes(ctx context.Context) error {
	const kept, refused = 1_000_000, 4_000_000
	value := strings.Repeat("x", kept)
	if _, err := s.maps.Create(ctx, configMap("large", value), metav1.CreateOptions{}); err != nil {
		return err
	}
	got, err := s.maps.Get(ctx, "large", metav1.GetOptions{})
	if err != nil || got.Data["value"] != value {
		return fmt.Errorf("read %d bytes: %w", len(got.Data["value"]), err)
	}
	if _, err := s.maps.Create(ctx, configMap("too-large", strings.Repeat("x", refused)), metav1.CreateOptions{}); err == nil {
		return fmt.Errorf("%d bytes were kept", refused)
	}
	return s.maps.Delete(ctx, "large", metav1.DeleteOptions{})
}

func (s *store) expires(ctx context.Context) error {
	events := s.cluster.CoreV1().Events("store")
	_, err := events.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "expires"},
		InvolvedObject: corev1.ObjectReference{Kind: "Namespace", Name: "store", Namespace: "store"},
		Reason:         "Scenario", Message: "this is forgotten soon",
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := events.Get(ctx, "expires", metav1.GetOptions{}); err != nil {
		return err
	}
	return vm.Wait(ctx, "the event to expire", 6*storeTTL, func(ctx context.Context) error {
		_, err := events.Get(ctx, "expires", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", unexpected(err))
	})
}

func (s *store) pages(ctx context.Context) error {
	const objects, page = 600, 100
	paged := metav1.ListOptions{LabelSelector: "paged=yes", Limit: page}
	object := func(i int) *corev1.ConfigMap {
		m := configMap(fmt.Sprintf("page-%06d", i), "before")
		m.Labels = map[string]string{"paged": "yes"}
		return m
	}
	for i := range objects {
		if _, err := s.maps.Create(ctx, object(i), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	first, err := s.maps.List(ctx, paged)
	if err != nil {
		return err
	}
	abandoned := first.Continue
	watching, err := s.watched.Watch(ctx, metav1.ListOptions{LabelSelector: "paged=yes", ResourceVersion: first.ResourceVersion})
	if err != nil {
		return err
	}
	defer watching.Stop()
	// Changed between the first page and the others, which are as if nothing had been.
	for i := range objects {
		changed := object(i)
		changed.Data["value"] = "after"
		if _, err := s.maps.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	seen := len(first.Items)
	for list := first; list.Continue != ""; seen += len(list.Items) {
		paged.Continue = list.Continue
		if list, err = s.maps.List(ctx, paged); err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].Data["value"] != "before" {
				return fmt.Errorf("page %d has what was changed after the first", seen/page)
			}
		}
	}
	if seen != objects {
		return fmt.Errorf("%d of %d objects on all pages", seen, objects)
	}
	for i := range objects {
		event, err := next(ctx, watching)
		if err != nil {
			return fmt.Errorf("the watch's change %d: %w", i, err)
		}
		if name := event.Object.(*corev1.ConfigMap).Name; name != object(i).Name { //nolint:forcetypeassert // next has looked
			return fmt.Errorf("the watch's change %d is of %s", i, name)
		}
	}
	return s.compacted(ctx, abandoned, watching)
}

// compacted changes more than a datastore keeps, waits until a page of before is refused, and finds the last change in a
// watch that has been open all along.
func (s *store) compacted(ctx context.Context, page string, watching watch.Interface) error {
	object, err := s.maps.Create(ctx, configMap("compacted", ""), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	for i := range keptRevisions + 100 {
		object.Data["value"] = fmt.Sprint(i)
		if object, err = s.maps.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	if err := vm.Wait(ctx, "an old page to be refused", 12*storeCompaction, func(ctx context.Context) error {
		_, err := s.maps.List(ctx, metav1.ListOptions{LabelSelector: "paged=yes", Limit: 1, Continue: page})
		if apierrors.IsResourceExpired(err) {
			return nil
		}
		return fmt.Errorf("it is not: %w", unexpected(err))
	}); err != nil {
		return err
	}
	last := configMap("page-last", "last")
	last.Labels = map[string]string{"paged": "yes"}
	if _, err := s.maps.Create(ctx, last, metav1.CreateOptions{}); err != nil {
		return err
	}
	event, err := next(ctx, watching)
	if err == nil && event.Type != watch.Added {
		err = fmt.Errorf("the watch has %s", event.Type)
	}
	return err
}

func (s *store) restarts(ctx context.Context) error {
	before, err := s.maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if _, err := s.server.Run(ctx, "sudo systemctl restart skerry-control.service"); err != nil {
		return err
	}
	if _, err := s.server.WaitServer(ctx); err != nil {
		return err
	}
	after, err := s.maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(after.Items) != len(before.Items) {
		return fmt.Errorf("%d objects, %d before", len(after.Items), len(before.Items))
	}
	for i := range after.Items {
		if a, b := &after.Items[i], &before.Items[i]; a.Name != b.Name || a.ResourceVersion != b.ResourceVersion {
			return fmt.Errorf("%s of version %s was %s of %s", a.Name, a.ResourceVersion, b.Name, b.ResourceVersion)
		}
	}
	return nil
}
