// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Reasons of Events. Those of passwords are K3s'.
const (
	reasonPasswordComplete = "NodePasswordValidationComplete"
	reasonPasswordFailed   = "NodePasswordValidationFailed"
	reasonDuplicate        = "DuplicateNode"
)

// nodeEvents makes Events of nodes, for those who look at the cluster and not at
// the journal of a server. They are written in the background, and what repeats is
// counted.
type nodeEvents struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
}

func newNodeEvents(client kubernetes.Interface, server string) *nodeEvents {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return &nodeEvents{
		broadcaster: broadcaster,
		recorder:    broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "skerry", Host: server}),
	}
}

func (e *nodeEvents) close() { e.broadcaster.Shutdown() }

func (e *nodeEvents) normal(node, reason, message string) {
	e.recorder.Event(nodeReference(node), corev1.EventTypeNormal, reason, message)
}

func (e *nodeEvents) warning(node, reason, message string) {
	e.recorder.Event(nodeReference(node), corev1.EventTypeWarning, reason, message)
}

// nodeReference is the kubelet's, so that kubectl describe shows the Events with
// the Node. There need not be one yet.
func nodeReference(node string) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Node", Name: node, UID: types.UID(node)}
}
