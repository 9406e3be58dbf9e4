// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// parseTaints reads K3s' node-taint entries, "key=value:Effect" or
// "key:Effect".
func parseTaints(entries []string) ([]corev1.Taint, error) {
	var taints []corev1.Taint
	for _, entry := range entries {
		rest, effect, ok := cutLast(entry, ":")
		if !ok || effect == "" || rest == "" {
			return nil, fmt.Errorf("node-taint %q: want key=value:Effect", entry)
		}
		key, value, _ := strings.Cut(rest, "=")
		switch corev1.TaintEffect(effect) {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			return nil, fmt.Errorf("node-taint %q: effect %q is none of NoSchedule, PreferNoSchedule, NoExecute", entry, effect)
		}
		taints = append(taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	return taints, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
