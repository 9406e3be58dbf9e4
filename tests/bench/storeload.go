// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

const (
	// Objects is how many there are when memory is measured.
	Objects     = 10_000
	objectBytes = 1000
	updates     = 3000
	pages       = 200
	pageSize    = 500
	// workers ask at the same time.
	workers = 16
	// eventPatience is for the last events to arrive.
	eventPatience = 30 * time.Second
)

// Load is what a client has seen.
type Load struct {
	Creates Rate `json:"creates"`
	Updates Rate `json:"updates"`
	// Lists are pages of pageSize objects, read from the datastore.
	Lists Rate `json:"lists"`
	// Watch are the events of the updates: from the request to the event.
	Watch Rate `json:"watch"`
}

// Rate is how many of something were done, and how long each took.
type Rate struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

// rate sums up durations of what took elapsed in all.
func rate(took []time.Duration, elapsed time.Duration) Rate {
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(float64(len(took)-1)*share)].Microseconds()) / 1000
	}
	return Rate{PerSecond: float64(len(took)) / elapsed.Seconds(), P50: at(0.5), P99: at(0.99)}
}

// repeat does something n times, workers at a time.
func repeat(ctx context.Context, n int, do func(ctx context.Context, i int) error) (Rate, error) {
	took := make([]time.Duration, n)
	next := make(chan int)
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range workers {
		group.Go(func() error {
			for i := range next {
				at := time.Now()
				if err := do(ctx, i); err != nil {
					return err
				}
				took[i] = time.Since(at)
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(next)
		for i := range n {
			select {
			case next <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return Rate{}, err
	}
	return rate(took, time.Since(began)), nil
}

// measureLoad creates, lists, updates and watches ConfigMaps.
func measureLoad(ctx context.Context, config *rest.Config) (l Load, err error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Load{}, err
	}
	const namespace = "bench"
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return Load{}, err
	}
	maps := client.CoreV1().ConfigMaps(namespace)
	if l.Creates, err = repeat(ctx, Objects, func(ctx context.Context, i int) error {
		_, err := maps.Create(ctx, object(i, "created"), metav1.CreateOptions{})
		return err
	}); err != nil {
		return Load{}, fmt.Errorf("create: %w", err)
	}
	if l.Lists, err = repeat(ctx, pages, func(ctx context.Context, _ int) error {
		list, err := maps.List(ctx, metav1.ListOptions{Limit: pageSize})
		if err == nil && len(list.Items) != pageSize {
			err = fmt.Errorf("a page has %d objects", len(list.Items))
		}
		return err
	}); err != nil {
		return Load{}, fmt.Errorf("list: %w", err)
	}
	l.Updates, l.Watch, err = measureUpdates(ctx, maps)
	return l, err
}

func object(i int, what string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("object-%05d", i)},
		Data:       map[string]string{"what": what, "padding": strings.Repeat("x", objectBytes)},
	}
}

// measureUpdates updates objects while they are watched.
func measureUpdates(ctx context.Context, maps corev1client.ConfigMapInterface) (done, seen Rate, err error) {
	list, err := maps.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return Rate{}, Rate{}, err
	}
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return Rate{}, Rate{}, fmt.Errorf("watch: %w", err)
	}
	defer w.Stop()
	var mu sync.Mutex // guards asked
	asked := map[string]time.Time{}
	began := time.Now()
	events := make(chan []time.Duration, 1)
	go func() {
		defer close(events)
		var took []time.Duration
		for event := range w.ResultChan() {
			m, ok := event.Object.(*corev1.ConfigMap)
			if !ok || m.Data["what"] != "updated" {
				continue
			}
			mu.Lock()
			took = append(took, time.Since(asked[m.Name]))
			mu.Unlock()
			if len(took) == updates {
				events <- took
				return
			}
		}
	}()
	if done, err = repeat(ctx, updates, func(ctx context.Context, i int) error {
		m := object(i, "updated")
		mu.Lock()
		asked[m.Name] = time.Now()
		mu.Unlock()
		_, err := maps.Update(ctx, m, metav1.UpdateOptions{})
		return err
	}); err != nil {
		return Rate{}, Rate{}, fmt.Errorf("update: %w", err)
	}
	select {
	case took, ok := <-events:
		if !ok {
			return Rate{}, Rate{}, errors.New("the watch ended")
		}
		return done, rate(took, time.Since(began)), nil
	case <-time.After(eventPatience):
		return Rate{}, Rate{}, fmt.Errorf("not all events of %d updates have come", updates)
	}
}
