// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// ClusterFlag is a key of K3s' config.yaml as a flag of `k3s server` and `k3s
// agent`.
type ClusterFlag struct {
	Key string
	// Kind is bool, int, string or list.
	Kind reflect.Kind
	// Description is of the reference.
	Description string
}

// ClusterFlags returns the flags that a role has, in the order of the reference.
func ClusterFlags(role Role) ([]ClusterFlag, error) {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Description string `json:"description"`
			} `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(schemaJSON, &schema); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	var flags []ClusterFlag
	t := reflect.TypeFor[Cluster]()
	for i, key := range clusterKeys() {
		if k3sKeys[key]&roleOf(role) == 0 {
			continue
		}
		kind := t.Field(i).Type.Kind()
		if kind == reflect.Pointer { // which tells false from nothing
			kind = t.Field(i).Type.Elem().Kind()
		}
		if t.Field(i).Type == reflect.TypeFor[Mode]() {
			kind = reflect.String // it is written in octal
		}
		flags = append(flags, ClusterFlag{Key: key, Kind: kind, Description: schema.Defs["Cluster"].Properties[key].Description})
	}
	return flags, nil
}

// RefusedFlag says why a role doesn't have a flag that K3s knows, and what to do
// instead. It says nothing of one that K3s doesn't know either.
func RefusedFlag(role Role, key string) (message, hint string) {
	on, known := k3sKeys[key]
	switch {
	case !known:
		return "", ""
	case on&roleOf(role) == 0:
		other := map[k3sRole]string{onServer: "servers", onAgent: "agents"}[on]
		return "is for " + other + " only", ""
	}
	return "is not supported by this release", k3sNotes[key]
}

func roleOf(role Role) k3sRole {
	if role == RoleAgent {
		return onAgent
	}
	return onServer
}

// ParseClusterLayers reads what `k3s server` and `k3s agent` are given, the
// weakest first: files, and a layer that is made from the flags. The keys of the
// other role are refused.
func ParseClusterLayers(role Role, layers []Layer) (*Cluster, Problems) {
	d := newDecoder(layers)
	d.plainSecrets = true
	cluster := new(Cluster)
	d.document(cluster)
	if len(d.problems) == 0 {
		(&Skerry{Cluster: *cluster}).checkRole(role, scope{d: d})
	}
	if len(d.problems) > 0 {
		return nil, d.sorted()
	}
	return cluster, nil
}

// FlagsLayer is a layer of flags. Lists are appended to what files have, as K3s
// does.
func FlagsLayer(name string, values map[string]any, order []string) (Layer, error) {
	var text strings.Builder
	for _, key := range order {
		value, err := json.Marshal(values[key]) // which is YAML, too, and one line
		if err != nil {
			return Layer{}, fmt.Errorf("flag %s: %w", key, err)
		}
		if _, list := values[key].([]string); list {
			key += "+"
		}
		fmt.Fprintf(&text, "%s: %s\n", key, value)
	}
	return Layer{Name: name, File: name, Data: []byte(text.String()), Form: K3sConfig}, nil
}
