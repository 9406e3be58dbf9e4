// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/daemon/nodeevent"
	"github.com/skerry-os/skerry/daemon/upgrade"
)

// upgradeFailed is the type of the Node's condition: True where the machine has gone back from a version.
const upgradeFailed corev1.NodeConditionType = "SkerryUpgradeFailed"

// The condition's reasons, and those of its Events.
const (
	reasonFellBack    = "UpgradeFellBack"
	reasonBlessed     = "UpgradeBlessed"
	reasonInterrupted = "UpgradeInterrupted"
)

// upgradePoll is how often it is looked for how the last upgrade ended. A version is blessed when its node has been Ready
// for a while, so after this begins.
const upgradePoll = 30 * time.Second

// tellUpgrades keeps the Node's condition, and makes an Event when an upgrade has ended, until ctx ends.
func tellUpgrades(ctx context.Context, client kubernetes.Interface, name, recordFile string, log *slog.Logger) {
	events := nodeevent.New(client, name)
	defer events.Close()
	ticker := time.NewTicker(upgradePoll)
	defer ticker.Stop()
	var told *upgrade.Outcome
	for {
		if r, err := upgrade.ReadRecord(recordFile); err != nil {
			log.Warn("how the last upgrade ended is not known", "error", err)
		} else if r.Last != nil && (told == nil || *told != *r.Last) {
			if err := tellUpgrade(ctx, client, name, r.Last, events); err != nil {
				log.Warn("the cluster was not told how the last upgrade ended", "error", err)
			} else {
				told = r.Last
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// upgradeEvents makes Events of Nodes.
type upgradeEvents interface {
	Normal(node, reason, message string)
	Warning(node, reason, message string)
}

// tellUpgrade sets the condition, and makes an Event unless the condition says the same already: of an earlier start.
func tellUpgrade(ctx context.Context, client kubernetes.Interface, name string, last *upgrade.Outcome, events upgradeEvents) error {
	wanted := corev1.NodeCondition{Type: upgradeFailed, Status: corev1.ConditionFalse, Reason: reasonBlessed, Message: last.String()}
	switch last.Result {
	case upgrade.FellBack:
		wanted.Status, wanted.Reason = corev1.ConditionTrue, reasonFellBack
	case upgrade.Interrupted:
		wanted.Reason = reasonInterrupted
	}
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the conditions of node %s: %w", name, err)
	}
	wanted.LastTransitionTime = metav1.NewTime(last.At)
	for _, c := range node.Status.Conditions {
		if c.Type == upgradeFailed && c.Message == wanted.Message && c.LastTransitionTime.Equal(&wanted.LastTransitionTime) {
			return nil
		}
	}
	wanted.LastHeartbeatTime = metav1.Now()
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{wanted}}})
	if err != nil {
		return err
	}
	// Conditions are merged by their type.
	if _, err := client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("set the condition of node %s: %w", name, err)
	}
	if wanted.Status == corev1.ConditionTrue {
		events.Warning(name, wanted.Reason, wanted.Message)
	} else {
		events.Normal(name, wanted.Reason, wanted.Message)
	}
	return nil
}
