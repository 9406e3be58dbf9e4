// SPDX-License-Identifier: Apache-2.0

package control

import (
	"log/slog"

	kinemetrics "github.com/k3s-io/kine/pkg/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/datastore/files"
)

// storeSize measures SQLite's files when it is asked.
type storeSize struct {
	metrics.BaseStableCollector
	dir string
	log *slog.Logger
}

var storeSizeDesc = metrics.NewDesc("skerry_datastore_size_bytes", "What the files of SQLite's database take on the disk.",
	[]string{"file"}, nil, metrics.ALPHA, "")

// registerStoreMetrics adds to the metrics of this process how long the datastore takes, and how large it is.
func registerStoreMetrics(store *datastore.Store, dir string, log *slog.Logger) error {
	if store.Kind == "etcd" {
		return nil // it has its own
	}
	for _, c := range []prometheus.Collector{kinemetrics.SQLTotal, kinemetrics.SQLTime, kinemetrics.CompactTotal, kinemetrics.InsertErrorsTotal} {
		if err := legacyregistry.Registerer().Register(c); err != nil {
			return err
		}
	}
	if store.Kind != "sqlite" {
		return nil
	}
	return legacyregistry.CustomRegister(&storeSize{dir: dir, log: log})
}

func (*storeSize) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- storeSizeDesc }

func (s *storeSize) CollectWithStability(ch chan<- metrics.Metric) {
	size, err := files.Measure(s.dir)
	if err != nil {
		s.log.Error("the datastore is not measured", "error", err)
		return
	}
	ch <- metrics.NewLazyConstMetric(storeSizeDesc, metrics.GaugeValue, float64(size.Database), files.Database)
	ch <- metrics.NewLazyConstMetric(storeSizeDesc, metrics.GaugeValue, float64(size.Log), files.Log)
}
