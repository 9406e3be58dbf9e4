// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/daemon/etcd"
)

// K3s' names of what tells of members of the embedded etcd on Nodes.
const (
	memberLease             = "k3s-etcd"
	memberNameAnnotation    = "etcd.k3s.cattle.io/node-name"
	memberAddressAnnotation = "etcd.k3s.cattle.io/node-address"
	// removeAnnotation, set to true, removes the member and leaves the Node.
	removeAnnotation = "etcd.k3s.cattle.io/remove"
	voterCondition   = "EtcdIsVoter"
	// memberFinalizer keeps a deleted Node until its member is removed: it is how the cluster knows whose member that was,
	// whichever server looks.
	memberFinalizer = "skerry.io/etcd-member"
)

const (
	memberInterval = 5 * time.Second
	memberTimeout  = 10 * time.Second
	// strandedAfter is K3s' patience with a learner that makes no progress: no other server can join meanwhile.
	strandedAfter = 5 * time.Minute
)

// ownMember is what this server's member is known by.
type ownMember struct{ name, address string }

// memberController removes the members of Nodes that are deleted, and learners that never came.
type memberController struct {
	client kubernetes.Interface
	etcd   *clientv3.Client
	log    *slog.Logger
	// learners are since when there are those that are not promoted.
	learners map[uint64]time.Time
}

// tendMembers is the work of one server of the cluster, until ctx ends.
func tendMembers(ctx context.Context, client kubernetes.Interface, member *etcd.Member, log *slog.Logger) error {
	etcdClient, err := member.Client(ctx)
	if err != nil {
		return err
	}
	defer etcdClient.Close() //nolint:errcheck // nothing is lost
	c := &memberController{client: client, etcd: etcdClient, log: log, learners: map[uint64]time.Time{}}
	last := ""
	for {
		if err := c.once(ctx); err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			log.Warn("looking after the members of etcd", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(memberInterval):
		}
	}
}

func (c *memberController) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	list, err := c.etcd.MemberList(ctx)
	if err != nil {
		return err
	}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: etcdLabel})
	if err != nil {
		return err
	}
	for i := range nodes.Items {
		if err := c.tendNode(ctx, &nodes.Items[i], list.Members); err != nil {
			return err
		}
	}
	return c.removeStranded(ctx, list.Members)
}

// tendNode removes the member of a Node that is deleted, and tells of any other's.
func (c *memberController) tendNode(ctx context.Context, node *corev1.Node, members []*etcdserverpb.Member) error {
	name := node.Annotations[memberNameAnnotation]
	at := slices.IndexFunc(members, func(m *etcdserverpb.Member) bool { return m.Name == name })
	deleted := node.DeletionTimestamp != nil && slices.Contains(node.Finalizers, memberFinalizer)
	if !deleted && node.Annotations[removeAnnotation] != "true" {
		return c.setCondition(ctx, node, members, at)
	}
	switch {
	case at < 0: // it is gone
	case len(members) == 1:
		if deleted {
			c.log.Warn("the Node of the cluster's only etcd member was deleted; the member stays", "node", node.Name)
		}
	default:
		c.log.Info("removing the etcd member of a Node", "node", node.Name, "member", name)
		if _, err := c.etcd.MemberRemove(ctx, members[at].ID); err != nil {
			return fmt.Errorf("remove etcd member %s: %w", name, err)
		}
	}
	if !deleted {
		return nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"$deleteFromPrimitiveList/finalizers":[%q]}}`, memberFinalizer)
	_, err := c.client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// setCondition tells whether the Node's member votes.
func (c *memberController) setCondition(ctx context.Context, node *corev1.Node, members []*etcdserverpb.Member, at int) error {
	want := corev1.NodeCondition{
		Type: voterCondition, Status: corev1.ConditionTrue, Reason: "MemberNotLearner",
		Message: "Node is a voting member of the etcd cluster",
	}
	switch {
	case at < 0:
		want.Status, want.Reason, want.Message = corev1.ConditionFalse, "NotAMember", "Node is not a member of the etcd cluster"
	case members[at].IsLearner:
		want.Status, want.Reason, want.Message = corev1.ConditionFalse, "MemberIsLearner", "Node has not all the data of the etcd cluster yet"
	}
	for _, have := range node.Status.Conditions {
		if have.Type == want.Type && have.Status == want.Status && have.Reason == want.Reason {
			return nil
		}
	}
	want.LastTransitionTime = metav1.Now()
	want.LastHeartbeatTime = want.LastTransitionTime
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{want}}})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// removeStranded removes learners whose servers went away before they had a vote.
func (c *memberController) removeStranded(ctx context.Context, members []*etcdserverpb.Member) error {
	seen := map[uint64]time.Time{}
	for _, m := range members {
		if !m.IsLearner {
			continue
		}
		since, ok := c.learners[m.ID]
		if !ok {
			since = time.Now()
		}
		seen[m.ID] = since
		if time.Since(since) < strandedAfter || c.answers(ctx, m) {
			continue
		}
		c.log.Warn("removing an etcd member that never came to vote", "member", m.Name, "peer", m.PeerURLs)
		if _, err := c.etcd.MemberRemove(ctx, m.ID); err != nil {
			return fmt.Errorf("remove etcd learner %s: %w", m.Name, err)
		}
	}
	c.learners = seen
	return nil
}

// answers reports whether a member is there.
func (c *memberController) answers(ctx context.Context, m *etcdserverpb.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout/4)
	defer cancel()
	for _, endpoint := range m.ClientURLs {
		if _, err := c.etcd.Status(ctx, endpoint); err == nil {
			return true
		}
	}
	return false
}
