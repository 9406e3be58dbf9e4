// SPDX-License-Identifier: Apache-2.0

package node

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestParseTaints(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want corev1.Taint // empty: refused
	}{
		{"dedicated=gpu:NoSchedule", corev1.Taint{Key: "dedicated", Value: "gpu", Effect: corev1.TaintEffectNoSchedule}},
		{"CriticalAddonsOnly:NoExecute", corev1.Taint{Key: "CriticalAddonsOnly", Effect: corev1.TaintEffectNoExecute}},
		{"a.b/c=d:e:PreferNoSchedule", corev1.Taint{Key: "a.b/c", Value: "d:e", Effect: corev1.TaintEffectPreferNoSchedule}},
		{"dedicated=gpu", corev1.Taint{}},
		{"dedicated=gpu:Sometimes", corev1.Taint{}},
		{":NoSchedule", corev1.Taint{}},
		{"", corev1.Taint{}},
	} {
		got, err := parseTaints([]string{tt.in})
		if refused := tt.want == (corev1.Taint{}); refused != (err != nil) {
			t.Errorf("parseTaints(%q) error = %v, want refused = %t", tt.in, err, refused)
			continue
		}
		if err == nil && !reflect.DeepEqual(got[0], tt.want) {
			t.Errorf("parseTaints(%q) = %+v, want %+v", tt.in, got[0], tt.want)
		}
	}
}
