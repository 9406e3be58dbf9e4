// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/pki"
)

// renewInterval is short against the life of a certificate, and no longer than
// somebody would wait whose machine has slept past an expiry.
const renewInterval = 10 * time.Second

// renewCertificates keeps the server's certificates from expiring, until ctx
// ends. What uses them reads the files again; connections that are open stay.
func renewCertificates(ctx context.Context, bundle *pki.Bundle, opts Options) error {
	stale := false // the kubeconfig that has a certificate in it
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		renewed, err := bundle.Renew()
		if len(renewed) > 0 {
			opts.Log.Info("certificates are renewed", "files", renewed)
			stale = true
		}
		if err == nil && stale {
			err = writeAdminKubeconfig(bundle, opts.Cluster)
			stale = err != nil
		}
		if err != nil {
			opts.Log.Error("certificates are not renewed; trying again", "error", err)
		}
	}
}

func writeAdminKubeconfig(bundle *pki.Bundle, c configschema.Cluster) error {
	return bundle.WriteAdminKubeconfig(c.WriteKubeconfig, c.HTTPSListenPort, c.WriteKubeconfigMode.FileMode())
}
