// SPDX-License-Identifier: Apache-2.0

// Package nodeevent makes Events of nodes, for those who look at the cluster and not at the journal of a machine.
package nodeevent

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Recorder makes Events. They are written in the background, tried again for some minutes where that fails, and what repeats
// is counted.
type Recorder struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
}

// New returns a recorder of Events that a machine, host, reports. The caller closes it.
func New(client kubernetes.Interface, host string) *Recorder {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return &Recorder{
		broadcaster: broadcaster,
		recorder:    broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "skerry", Host: host}),
	}
}

// Close ends the writing.
func (r *Recorder) Close() { r.broadcaster.Shutdown() }

// Normal tells of something that needs nobody.
func (r *Recorder) Normal(node, reason, message string) {
	r.recorder.Event(reference(node), corev1.EventTypeNormal, reason, message)
}

// Warning tells of something that somebody should look at.
func (r *Recorder) Warning(node, reason, message string) {
	r.recorder.Event(reference(node), corev1.EventTypeWarning, reason, message)
}

// reference is the kubelet's, so that kubectl describe shows the Events with the Node. There need not be one yet.
func reference(node string) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Node", Name: node, UID: types.UID(node)}
}
