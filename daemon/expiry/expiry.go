// SPDX-License-Identifier: Apache-2.0

// Package expiry tells when the certificates of a machine expire: as a metric of
// the process it is called in, and as Events of the machine's Node. It renews
// nothing.
package expiry

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/skerry-os/skerry/daemon/nodeevent"
	"github.com/skerry-os/skerry/daemon/pki"
)

// K3s' names.
const (
	metricName    = "k3s_certificate_expiration_seconds"
	leafReason    = "CertificateExpirationWarning"
	caReason      = "CACertificateExpirationWarning"
	checkInterval = 30 * time.Minute
)

// collector reads the certificates when it is asked: they are renewed under way.
type collector struct {
	metrics.BaseStableCollector
	dataDir, part string
	now           func() time.Time
	log           *slog.Logger
}

var desc = metrics.NewDesc(metricName, "Seconds until a certificate expires; negative since it has.",
	[]string{"file", "subject"}, nil, metrics.ALPHA, "")

// Register adds to the metrics of this process how long the certificates of one
// part of the data directory, server or agent, are valid.
func Register(dataDir, part string, log *slog.Logger) error {
	return legacyregistry.CustomRegister(&collector{dataDir: dataDir, part: part, now: time.Now, log: log})
}

func (c *collector) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- desc }

func (c *collector) CollectWithStability(ch chan<- metrics.Metric) {
	now := c.now()
	all, err := pki.Inspect(c.dataDir, now)
	if err != nil {
		c.log.Error("certificates are not measured", "error", err)
		return
	}
	for _, cert := range all {
		name, err := filepath.Rel(filepath.Join(c.dataDir, c.part), cert.File)
		if err != nil || strings.HasPrefix(name, "..") || cert.Problem != "" {
			continue
		}
		ch <- metrics.NewLazyConstMetric(desc, metrics.GaugeValue, cert.NotAfter.Sub(now).Seconds(), name, cert.Subject)
	}
}

// Warn makes Events of node about certificates that expire and weren't renewed,
// and of authorities, which are renewed by nobody, until ctx ends.
func Warn(ctx context.Context, client kubernetes.Interface, dataDir, node string, log *slog.Logger) {
	events := nodeevent.New(client, node)
	defer events.Close()
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		for _, w := range look(dataDir, time.Now(), log) {
			events.Warning(node, w.reason, w.message)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

type warning struct{ reason, message string }

// look returns what there is to warn of.
func look(dataDir string, now time.Time, log *slog.Logger) []warning {
	all, err := pki.Inspect(dataDir, now)
	if err != nil {
		log.Error("certificates are not looked after", "error", err)
		return nil
	}
	var warnings []warning
	for _, cert := range all {
		reason := leafReason
		if cert.CA {
			reason = caReason
		}
		switch cert.State {
		case pki.CertificateOK:
			continue
		case pki.CertificateDamaged:
			warnings = append(warnings, warning{reason, cert.File + " is damaged: " + cert.Problem})
			continue
		}
		warnings = append(warnings, warning{reason,
			fmt.Sprintf("%s of %s: %s, on %s", cert.File, cert.Subject, cert.State, cert.NotAfter.Format(time.RFC3339))})
	}
	return warnings
}
