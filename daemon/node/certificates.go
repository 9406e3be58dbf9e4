// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/join"
	"github.com/skerry-os/skerry/daemon/pki"
)

const (
	// renewInterval is how often the node looks at its certificates: a machine may
	// have slept past an expiry, and nothing works on it then.
	renewInterval = 10 * time.Second
	// renewPause is the time between two renewals. A cluster whose authority is
	// near its own end has no longer certificates to give.
	renewPause = time.Hour
)

// renewCertificates fetches this node's certificates anew when they are about to
// expire, or have, or somebody asks for others, until ctx ends. Kubelet,
// kube-proxy, flannel and tunnel read the files again.
func renewCertificates(ctx context.Context, files join.Files, log *slog.Logger, joinAgain func(context.Context) error) error {
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		due := due(files, time.Now(), last, log)
		if due == "" {
			continue
		}
		log.Info("renewing this node's certificates", "because of", due)
		if err := joinAgain(ctx); err != nil {
			return err // ctx ended, or the configuration can't work, which it did
		}
		last = time.Now()
	}
}

// due returns what certificates are to be fetched anew for at now, or nothing.
// last is when they were, zero for never.
func due(files join.Files, now, last time.Time, log *slog.Logger) string {
	requested, err := pki.RequestedRotation(files.Dir)
	if err != nil {
		log.Error("nobody knows whether to rotate certificates", "error", err)
	}
	if len(requested) > 0 {
		return "a request for " + strings.Join(requested, ", ")
	}
	if !last.IsZero() && within(now, last, renewPause) {
		return ""
	}
	return expiring(files, now, log)
}

// within says whether at is no more than d before now, as the clock on the wall shows it, by which certificates expire: the
// monotonic clock, which Sub would take, knows nothing of a clock that was set, nor of a machine's sleep. An at to come is
// of a clock that was wrong.
func within(now, at time.Time, d time.Duration) bool {
	since := now.Round(0).Sub(at)
	return since >= 0 && since < d
}

// expiring returns the first file whose certificate is to be renewed at now.
func expiring(files join.Files, now time.Time, log *slog.Logger) string {
	for _, pair := range []join.Pair{files.ServingKubelet, files.ClientKubelet, files.ClientKubeProxy, files.ClientController} {
		cert, err := pki.ReadCertificate(pair.Cert)
		if err != nil {
			log.Error("a certificate of this node is damaged", "error", err)
			return pair.Cert
		}
		if !now.Before(cert.NotAfter.Add(-pki.RenewBefore)) {
			return pair.Cert
		}
	}
	return ""
}
