// SPDX-License-Identifier: Apache-2.0

package nodeupgrade

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// interval is how often the machine is looked at while something is under way that nobody is told the end of, and after
	// something has failed.
	interval = 10 * time.Second
	// idle is how often it is looked at otherwise. What runs changes by a reboot only, which begins here anew.
	idle = time.Hour
	// checks are how often a source is asked, checkPause apart, before the answer counts.
	checks     = 3
	checkPause = 20 * time.Second
)

// Options say which Node is whose.
type Options struct {
	// Client has the kubelet's rights.
	Client  kubernetes.Interface
	Node    string
	Boot    string // this boot's id
	Machine Machine
	Log     *slog.Logger
}

// service does what the Node asks for. Only one thing is done at a time.
type service struct {
	Options
	// pause is checkPause, but in tests.
	pause time.Duration
	last  string // complaint
}

// Run does what the Node asks for until ctx ends.
func Run(ctx context.Context, o Options) error {
	asked := make(chan struct{}, 1)
	factory := informers.NewSharedInformerFactoryWithOptions(o.Client, 0, informers.WithTweakListOptions(func(l *metav1.ListOptions) {
		l.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, o.Node).String()
	}))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := ""
	look := func(object any) {
		node, ok := object.(*corev1.Node)
		if !ok || node.Annotations[RequestAnnotation] == seen {
			return
		}
		seen = node.Annotations[RequestAnnotation]
		select {
		case asked <- struct{}{}:
		default:
		}
	}
	if _, err := factory.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, now any) { look(now) },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel() // before Shutdown, which waits
	s := &service{Options: o, pause: checkPause}
	for {
		timer := time.NewTimer(s.once(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-asked:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// once looks at Node and machine, does what there is to do, and returns when to look again.
func (s *service) once(ctx context.Context) time.Duration {
	again, err := s.look(ctx)
	if err == nil {
		s.last = ""
		return again
	}
	if text := err.Error(); text != s.last && ctx.Err() == nil {
		s.last = text
		s.Log.Warn("upgrades by the cluster: will try again", "error", err)
	}
	return interval
}

func (s *service) look(ctx context.Context) (time.Duration, error) {
	node, err := s.Client.CoreV1().Nodes().Get(ctx, s.Node, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	machine, err := s.Machine.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("look which image runs: %w", err)
	}
	request, err := RequestOf(node)
	if err != nil {
		return 0, err
	}
	last, err := ReportOf(node)
	if err != nil || last == nil {
		last = &Report{} // ours to write anew
	}
	now, act := next(request, *last, machine, s.Boot)
	// What was not told is not done: it would be begun again, or be forgotten.
	if now != *last || node.Annotations[ReportAnnotation] == "" {
		if err := s.report(ctx, now); err != nil {
			return 0, err
		}
	}
	switch act {
	case nothing:
		if now.OnTrial { // by hand
			return interval, nil
		}
		return idle, nil
	case waitChange:
		return interval, nil
	case doCheck:
		now = s.check(ctx, request, now)
	case doApply:
		now = s.apply(ctx, request, now)
	case doReboot:
		if err := s.Machine.Reboot(ctx); err != nil {
			return 0, fmt.Errorf("reboot: %w", err)
		}
		return interval, nil
	}
	if ctx.Err() != nil {
		return 0, ctx.Err() // it may have failed of that: the next start looks
	}
	if err := s.report(ctx, now); err != nil {
		return 0, err
	}
	if now.State == Rebooting {
		return 0, nil
	}
	return idle, nil
}

// check asks the source some times: to find it away for a moment is no reason to stop the upgrade of a cluster.
func (s *service) check(ctx context.Context, request *Request, now Report) Report {
	var err error
	for n := range checks {
		if n > 0 {
			select {
			case <-ctx.Done():
				return now
			case <-time.After(s.pause):
			}
		}
		var offer Offer
		if offer, err = s.Machine.Check(ctx, request.Source); err != nil {
			s.Log.Warn("check an upgrade", "source", request.Source, "error", err)
			continue
		}
		if offer.Version != request.Version {
			err = fmt.Errorf("%s has version %s, and not %s", request.Source, offer.Version, request.Version)
			break
		}
		now.State, now.Kubernetes, now.Message = Checked, offer.Kubernetes, ""
		return now
	}
	now.State, now.Message = Failed, err.Error()
	return now
}

func (s *service) apply(ctx context.Context, request *Request, now Report) Report {
	s.Log.Info("the cluster asks for an upgrade", "version", request.Version, "source", request.Source, "request", request.ID)
	if err := s.Machine.Apply(ctx, request.Source, request.Version); err != nil {
		now.State, now.Message = Failed, err.Error()
		return now
	}
	now.State, now.Boot = Rebooting, s.Boot
	return now
}

func (s *service) report(ctx context.Context, r Report) error {
	r.Message = cut(r.Message)
	patch, err := Patch(ReportAnnotation, r)
	if err != nil {
		return err
	}
	if _, err := s.Client.CoreV1().Nodes().Patch(ctx, s.Node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("report on the Node: %w", err)
	}
	return nil
}
