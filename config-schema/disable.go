// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"reflect"
	"strings"
)

// absent are K3s' controllers that this release doesn't have, by the keys that
// disable them.
var absent = []struct{ key, controller string }{
	{"disable-network-policy", "controller of NetworkPolicies"},
	{"disable-helm-controller", "Helm controller"},
}

func (c *Cluster) checkDisabled(s scope) {
	given := map[string]Switch{
		"disable-network-policy":  c.DisableNetworkPolicy,
		"disable-helm-controller": c.DisableHelmController,
	}
	for _, a := range absent {
		if s.has(a.key) && !bool(given[a.key]) {
			s.problem(s.at(a.key), "this release has no "+a.controller+", and so can't run it", "remove the key, or write true")
		}
	}
	if s.has("tls-san-security") && !bool(c.TLSSANSecurity) {
		s.problem(s.at("tls-san-security"), "the server's certificate never takes up names that clients ask for",
			"list them in tls-san, and remove the key")
	}
}

// nodeKeys are read by a machine's node only, and schedulerKeys and the others by
// what their name says.
var (
	nodeKeys = []string{
		"node-label", "node-taint", "kubelet-arg", "kube-proxy-arg", "flannel-iface", "flannel-conf", "resolv-conf",
		"protect-kernel-defaults", "image-credential-provider-config", "image-credential-provider-bin-dir",
		"disable-default-registry-endpoint", "nonroot-devices", "snapshotter", "node-internal-dns", "node-external-dns",
	}
	schedulerKeys         = []string{"kube-scheduler-arg"}
	controllerManagerKeys = []string{"kube-controller-manager-arg"}
	kubeProxyKeys         = []string{"kube-proxy-arg"}
	// node-external-ip has a part in a server's certificate, too.
	cloudKeys = []string{"node-internal-dns", "node-external-dns"}
)

// Warnings says what of the section is right, and yet may not do what somebody
// expects of it: one line each, for people.
func (k *Skerry) Warnings() []string {
	if k.EffectiveRole() == RoleAgent {
		return nil
	}
	var warnings []string
	c := &k.Cluster
	idle := func(disabled Switch, by string, keys []string) {
		if set := c.given(keys); bool(disabled) && len(set) > 0 {
			warnings = append(warnings, fmt.Sprintf("%s: nothing reads %s on this machine", by, strings.Join(set, ", ")))
		}
	}
	idle(c.DisableAgent, "disable-agent", nodeKeys)
	idle(c.DisableScheduler, "disable-scheduler", schedulerKeys)
	idle(c.DisableControllerManager, "disable-controller-manager", controllerManagerKeys)
	if !c.DisableAgent {
		idle(c.DisableKubeProxy, "disable-kube-proxy", kubeProxyKeys)
	}
	idle(c.DisableCloudController, "disable-cloud-controller", cloudKeys)
	c.snapshotWarnings(idle)
	if mode := c.EgressSelectorMode; bool(c.DisableAgent) && mode != "pod" && mode != "cluster" {
		warnings = append(warnings, "disable-agent: this server is not on the network of the pods, and kube-apiserver can't reach "+
			"webhooks and aggregated APIs that run as pods; set egress-selector-mode to cluster or pod")
	}
	return warnings
}

// given returns those of keys that have a value.
func (c *Cluster) given(keys []string) []string {
	values := map[string]reflect.Value{}
	v := reflect.ValueOf(c).Elem()
	for i, key := range clusterKeys() {
		values[key] = v.Field(i)
	}
	var set []string
	for _, key := range keys {
		if !values[key].IsZero() {
			set = append(set, key)
		}
	}
	return set
}
