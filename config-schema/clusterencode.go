// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"bytes"
	"fmt"
	"reflect"

	"gopkg.in/yaml.v3"
)

// EncodeCluster writes the keys that are set as a K3s config.yaml. Secrets are
// in it: the file must be readable by root only.
func EncodeCluster(c *Cluster) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		value := v.Field(i).Interface()
		switch typed := value.(type) {
		case Secret:
			if reference, ok := typed.Reference(); ok {
				return nil, fmt.Errorf("encode %s: its %s has not been read", v.Type().Field(i).Tag.Get("yaml"), reference)
			}
			value = typed.Reveal()
		case Seconds:
			value = typed.String()
		case Mode:
			value = typed.String()
		}
		key, node := new(yaml.Node), new(yaml.Node)
		key.SetString(v.Type().Field(i).Tag.Get("yaml"))
		if err := node.Encode(value); err != nil {
			return nil, fmt.Errorf("encode %s: %w", key.Value, err)
		}
		root.Content = append(root.Content, key, node)
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("encode cluster configuration: %w", err)
	}
	return out.Bytes(), nil
}
