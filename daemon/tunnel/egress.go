// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// EgressConfig tells kube-apiserver to send what goes to nodes and pods through
// the supervisor's CONNECT, if anything goes through tunnels.
type EgressConfig struct {
	// Mode is ModeDisabled where kube-apiserver dials everything itself.
	Mode Mode
	// Socket is where the supervisor answers CONNECT. Over TLS, kube-apiserver
	// would go on using the certificate it has read at its start, and would be cut
	// off from the nodes when that expires.
	Socket string
}

// Write writes kube-apiserver's egress selector configuration to file.
func (e EgressConfig) Write(file string) error {
	type fields map[string]any
	connection := fields{"proxyProtocol": "Direct"}
	if e.Mode != ModeDisabled {
		connection = fields{"proxyProtocol": "HTTPConnect", "transport": fields{"uds": fields{"udsName": e.Socket}}}
	}
	data, err := yaml.Marshal(fields{
		"apiVersion": "apiserver.k8s.io/v1beta1",
		"kind":       "EgressSelectorConfiguration",
		"egressSelections": []fields{{
			"name":       "cluster",
			"connection": connection,
		}},
	})
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return atomicfile.WriteIfChanged(file, data, 0o600)
}
