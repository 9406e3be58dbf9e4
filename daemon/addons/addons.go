// SPDX-License-Identifier: Apache-2.0

// Package addons applies the manifests that ship with the OS, and those that
// the user put into the server's manifests directory, to the cluster.
//
// It keeps K3s' rules: files are looked at every 15 seconds, a changed file is
// applied, FILE.skip makes FILE ignored, a disabled name is not applied and
// what we applied of it is deleted; deleting a file deletes nothing. Objects
// are applied by server-side apply, so that fields which somebody else set
// (replicas, added keys of a ConfigMap) stay.
//
// It runs inside the control process on the smallest machines, so it watches
// nothing and keeps no objects: a checksum for each file.
package addons

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// FieldManager owns the fields that are applied from here.
const FieldManager = "skerry-addons"

const (
	// walkInterval is the time between two looks at the files, as in K3s.
	walkInterval = 15 * time.Second
	// firstRetry doubles up to walkInterval. Short, because at the first boot
	// an API may be a moment away (a CRD in the same file, RBAC's bootstrap).
	firstRetry = 250 * time.Millisecond
	// requestTimeout ends a call to an apiserver that hangs.
	requestTimeout = 30 * time.Second
)

// Source is a directory of manifests: *.yaml, *.yml and *.json, at any depth.
type Source struct {
	Dir string
	// Template replaces %{NAME}% by Options.Vars. For packaged manifests; a
	// user's file is taken as it is.
	Template bool
}

// Options says what to apply where.
type Options struct {
	Config *rest.Config
	// Sources in order of precedence: a file that an earlier source has at the
	// same relative path hides it. Directories that don't exist are empty.
	Sources []Source
	Vars    map[string]string
	// Disable names files without their suffixes ("coredns"), or directories.
	Disable []string
	// Later names manifests, as Disable does, that are not applied before Hold returns; a nil Hold holds none. Its error
	// ends Run.
	Later []string
	Hold  func(ctx context.Context) error
	Log   *slog.Logger
}

// Run applies the manifests until ctx ends, and returns nil then. What can't
// be applied is logged when its error changes, and tried again.
func Run(ctx context.Context, o Options) error {
	target, err := newCluster(o.Config)
	if err != nil {
		return fmt.Errorf("add-ons: %w", err)
	}
	c := newController(o, target)
	released := c.hold(ctx)
	wait, retry := time.Duration(0), firstRetry
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case err := <-released:
			if err != nil && ctx.Err() == nil {
				timer.Stop()
				return fmt.Errorf("add-ons: %w", err)
			}
			c.held, released = false, nil
		case <-timer.C:
		}
		timer.Stop()
		if c.pass(ctx) {
			wait, retry = walkInterval, firstRetry
		} else {
			wait, retry = retry, min(2*retry, walkInterval)
		}
	}
}

// api is the part of the cluster that the controller needs.
type api interface {
	// apply makes the object so, by server-side apply.
	apply(ctx context.Context, object *unstructured.Unstructured) error
	// remove deletes the object if it was applied from here, and says whether
	// it did.
	remove(ctx context.Context, object *unstructured.Unstructured) (bool, error)
	// refresh forgets which kinds the cluster knows.
	refresh()
}

// controller remembers what has been done with each file.
type controller struct {
	Options
	api   api
	files map[string]*progress // by relative path
	said  map[string]string    // last complaint about a subject
	held  bool                 // what comes later is not looked at
}

// progress is how far a file is with one checksum.
type progress struct {
	checksum string
	done     map[int]bool // objects that are applied, by place in the file
	settled  bool
}

func newController(o Options, target api) *controller {
	return &controller{Options: o, api: target, files: map[string]*progress{}, said: map[string]string{}}
}

// hold begins to hold manifests back, and returns where the end of it is told.
func (c *controller) hold(ctx context.Context) <-chan error {
	if c.Hold == nil {
		return nil
	}
	c.held = true
	released := make(chan error, 1)
	go func() { released <- c.Hold(ctx) }()
	return released
}

// work is a file that isn't settled.
type work struct {
	*manifest
	*progress
	objects []*unstructured.Unstructured
	remove  bool
}

// pass walks the sources once, does what there is to do, and says whether
// everything is as the files want it.
func (c *controller) pass(ctx context.Context) bool {
	manifests, err := walk(c.Sources, c.complain)
	settled := c.outcome("manifest directories", err)

	var pending []work
	for _, m := range manifests {
		if c.held && slices.Contains(c.Later, m.name()) {
			continue
		}
		p := c.files[m.path]
		if p == nil || p.checksum != m.checksum {
			p = &progress{checksum: m.checksum, done: map[int]bool{}}
			c.files[m.path] = p
		}
		if p.settled {
			continue
		}
		objects, err := m.objects(c.Vars)
		if !c.outcome(m.file, err) {
			settled = false
			continue
		}
		pending = append(pending, work{manifest: m, progress: p, objects: objects, remove: m.disabled(c.Disable)})
	}
	if len(pending) == 0 {
		return settled
	}

	// What others live in comes first, of all files, whatever their order.
	c.api.refresh()
	for _, early := range []bool{true, false} {
		for _, w := range pending {
			if !w.remove {
				settled = c.applyObjects(ctx, w, early) && settled
			}
		}
	}
	for _, w := range pending {
		if w.remove {
			settled = c.removeObjects(ctx, w) && settled
		}
	}
	for _, w := range pending {
		if len(w.done) < len(w.objects) {
			continue
		}
		w.settled = true
		if !w.remove {
			c.Log.Info("applied manifest", "file", w.file, "objects", len(w.objects))
		}
	}
	c.api.refresh() // frees the memory until the next change
	return settled
}

// applyObjects applies those objects of the file that are not applied yet and
// are, or are not, early.
func (c *controller) applyObjects(ctx context.Context, w work, early bool) bool {
	ok := true
	for n, object := range w.objects {
		if w.done[n] || isEarly(object) != early {
			continue
		}
		err := c.api.apply(ctx, object)
		if !c.outcome(subject(w.file, n, object), err) {
			ok = false
			continue
		}
		w.done[n] = true
	}
	return ok
}

// removeObjects deletes what was applied from a file that is now disabled, the
// last object first.
func (c *controller) removeObjects(ctx context.Context, w work) bool {
	ok := true
	for n := len(w.objects) - 1; n >= 0; n-- {
		if w.done[n] {
			continue
		}
		object := w.objects[n]
		removed, err := c.api.remove(ctx, object)
		if !c.outcome(subject(w.file, n, object), err) {
			ok = false
			continue
		}
		if removed {
			c.Log.Info("deleted object of a disabled manifest", "file", w.file, "object", describe(object))
		}
		w.done[n] = true
	}
	return ok
}

// outcome logs an error once, and once more only when it changes; it says
// whether there was none. An apiserver that is going away is not news.
func (c *controller) outcome(subject string, err error) bool {
	if err == nil {
		delete(c.said, subject)
		return true
	}
	if !errors.Is(err, context.Canceled) {
		c.complain(subject, err.Error())
	}
	return false
}

func (c *controller) complain(subject, text string) {
	if c.said[subject] == text {
		return
	}
	c.said[subject] = text
	c.Log.Warn("add-on: "+subject, "error", text)
}

// isEarly says whether other objects can't be made before this one.
func isEarly(object *unstructured.Unstructured) bool {
	switch kind := object.GroupVersionKind().GroupKind(); kind.String() {
	case "Namespace", "CustomResourceDefinition.apiextensions.k8s.io", "PriorityClass.scheduling.k8s.io":
		return true
	}
	return false
}

// subject names an object by the place where its author finds it.
func subject(file string, n int, object *unstructured.Unstructured) string {
	return fmt.Sprintf("%s: object %d, %s", file, n+1, describe(object))
}

func describe(object *unstructured.Unstructured) string {
	return strings.TrimSpace(object.GetKind() + " " + strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/"))
}
