// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/kubectl/pkg/drain"
)

// maxLeft is how many pods a message names.
const maxLeft = 5

// evict asks once to evict every pod that kubectl drain would, and returns what is left, for people; "" when nothing is. It
// doesn't wait: the next look asks again, whichever server that is on.
func (r *run) evict(ctx context.Context, node string) (left string, err error) {
	spec := r.plan.Spec.Drain
	d := drain.Helper{
		Ctx:                 ctx,
		Client:              r.client,
		Force:               spec.Force,
		GracePeriodSeconds:  -1,
		IgnoreAllDaemonSets: true,
		DeleteEmptyDirData:  !spec.KeepEmptyDir,
		Out:                 io.Discard,
		ErrOut:              io.Discard,
	}
	if spec.GracePeriodSeconds != nil {
		d.GracePeriodSeconds = *spec.GracePeriodSeconds
	}
	pods, errs := d.GetPodsForDeletion(node)
	if pods == nil {
		return "", fmt.Errorf("look for the pods of node %s: %w", node, errors.Join(errs...))
	}
	if len(errs) > 0 { // as kubectl has it: some may not go, so none does
		return oneLine(errors.Join(errs...)), nil
	}
	var all []string
	for _, pod := range pods.Pods() {
		why := "it is ending"
		if pod.DeletionTimestamp == nil {
			err := evictPod(ctx, d, pod)
			switch {
			case apierrors.IsNotFound(err):
				continue
			case err != nil: // a PodDisruptionBudget, above all
				why = oneLine(err)
			}
		}
		all = append(all, fmt.Sprintf("%s/%s: %s", pod.Namespace, pod.Name, why))
	}
	if more := len(all) - maxLeft; more > 0 {
		all = append(all[:maxLeft], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; "), nil
}

// evictTimeout bounds an eviction: as long as the status of a PodDisruptionBudget isn't there yet, kube-apiserver asks to try
// again after ten seconds, and the client would do so ten times by itself.
const evictTimeout = 8 * time.Second

func evictPod(ctx context.Context, d drain.Helper, pod corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, evictTimeout)
	defer cancel()
	d.Ctx = ctx
	return d.EvictPod(pod, policyv1.SchemeGroupVersion)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func labelSet(node *corev1.Node) labels.Set { return node.Labels }

func sortedNames(nodes map[string]*corev1.Node) []string {
	names := map[string]string{}
	for name := range nodes {
		names[name] = ""
	}
	return sortedKeys(names)
}
