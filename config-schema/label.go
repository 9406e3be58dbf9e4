// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strings"
)

var (
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)
)

// kubeletLabels are the labels in Kubernetes' own domains that a kubelet may set
// on itself; it exits when asked for another one. (k8s.io/kubernetes
// cmd/kubelet/app/options: unknownLabels.)
var kubeletLabels = set("beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
	"failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone", "kubernetes.io/arch",
	"kubernetes.io/hostname", "kubernetes.io/os", "node.kubernetes.io/instance-type",
	"topology.kubernetes.io/region", "topology.kubernetes.io/zone")

func checkLabel(s scope, at, label string) {
	key, value, ok := strings.Cut(label, "=")
	switch {
	case !ok:
		s.problem(at, quote(label)+" is not a label", "key=value")
	case !qualifiedName(key):
		s.problem(at, quote(key)+" is not the key of a label", "an optional domain and a slash, then letters, digits, -, _ and .")
	case !labelValue.MatchString(value):
		s.problem(at, quote(value)+" is not the value of a label", "at most 63 letters, digits, -, _ and .")
	case !kubeletMaySet(key):
		s.problem(at, "a node may not give itself the label "+quote(key), "set it with kubectl label node, or choose a domain of your own")
	}
}

func qualifiedName(key string) bool {
	domain, name, ok := strings.Cut(key, "/")
	if !ok {
		return labelName.MatchString(key)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return len(domain) <= 253 && labelName.MatchString(name)
}

func kubeletMaySet(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	if !ok || kubeletLabels[key] {
		return true
	}
	for _, open := range []string{"kubelet.kubernetes.io", "node.kubernetes.io"} {
		if domain == open || strings.HasSuffix(domain, "."+open) {
			return true
		}
	}
	for _, reserved := range []string{"kubernetes.io", "k8s.io"} {
		if domain == reserved || strings.HasSuffix(domain, "."+reserved) {
			return false
		}
	}
	return true
}

var taintEffects = []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}

func checkTaint(s scope, at, taint string) {
	key, effect, ok := strings.Cut(taint, ":")
	if !ok {
		s.problem(at, quote(taint)+" is not a taint", "key=value:NoSchedule")
		return
	}
	key, value, _ := strings.Cut(key, "=")
	switch {
	case !qualifiedName(key) || !labelValue.MatchString(value):
		s.problem(at, quote(taint)+" is not a taint", "key=value:NoSchedule")
	case !set(taintEffects...)[effect]:
		hint := didYouMean(effect, taintEffects)
		s.problem(at, quote(effect)+" is not one of "+strings.Join(taintEffects, ", "), hint)
	}
}
