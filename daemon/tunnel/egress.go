// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// EgressConfig tells kube-apiserver to send what goes to nodes and pods through
// the supervisor's CONNECT.
type EgressConfig struct {
	URL string // of the supervisor
	// CertFile and KeyFile are kube-apiserver's client certificate, CAFile the
	// supervisor's authority.
	CAFile, CertFile, KeyFile string
}

// Write writes kube-apiserver's egress selector configuration to file.
func (e EgressConfig) Write(file string) error {
	type fields map[string]any
	data, err := yaml.Marshal(fields{
		"apiVersion": "apiserver.k8s.io/v1beta1",
		"kind":       "EgressSelectorConfiguration",
		"egressSelections": []fields{{
			"name": "cluster",
			"connection": fields{
				"proxyProtocol": "HTTPConnect",
				"transport": fields{"tcp": fields{
					"url":       e.URL,
					"tlsConfig": fields{"caBundle": e.CAFile, "clientCert": e.CertFile, "clientKey": e.KeyFile},
				}},
			},
		}},
	})
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return atomicfile.WriteIfChanged(file, data, 0o600)
}
