// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/nodeevent"
)

const (
	// storeInterval is how often the datastore is looked at.
	storeInterval = 20 * time.Second
	// storePatience is for it to answer.
	storePatience = 10 * time.Second
	// recoveredReason is that of the Event when an alarm ends.
	recoveredReason = "DatastoreRecovered"
)

// storeAlarm is 1 for each alarm of the datastore, and 0 for those that there could be.
var storeAlarm = metrics.NewGaugeVec(&metrics.GaugeOpts{
	Name: "skerry_datastore_alarm", Help: "1 for what is wrong with the datastore, 0 for what isn't.", StabilityLevel: metrics.ALPHA,
}, []string{"reason"})

func init() { legacyregistry.MustRegister(storeAlarm) }

// watchStore looks at the datastore until ctx ends, and tells of what is wrong with it: in the log, as a metric, and as
// Events of this server's Node.
func watchStore(ctx context.Context, client kubernetes.Interface, store *datastore.Store, alarms *datastore.Alarms, opts Options) {
	events := nodeevent.New(client, opts.NodeName)
	defer events.Close()
	for _, reason := range datastore.Reasons {
		storeAlarm.WithLabelValues(reason).Set(0)
	}
	ticker := time.NewTicker(storeInterval)
	defer ticker.Stop()
	for {
		lookAtStore(ctx, store, alarms, opts, events)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func lookAtStore(ctx context.Context, store *datastore.Store, alarms *datastore.Alarms, opts Options, events *nodeevent.Recorder) {
	looking, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	d := store.Status(looking)
	if ctx.Err() != nil {
		return
	}
	begun, ended := alarms.Look(d, time.Now())
	for _, a := range begun {
		opts.Log.LogAttrs(ctx, slog.LevelWarn, a.Message, slog.String("alarm", a.Reason))
		events.Warning(opts.NodeName, a.Reason, a.Message)
		storeAlarm.WithLabelValues(a.Reason).Set(1)
	}
	for _, a := range ended {
		opts.Log.Info("the datastore is well again", "alarm", a.Reason)
		events.Normal(opts.NodeName, recoveredReason, "over: "+a.Reason)
		storeAlarm.WithLabelValues(a.Reason).Set(0)
	}
}
