// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"
)

const seedLabel = "cidata" // what the NoCloud data source looks for

// writeSeed makes a NoCloud volume: a vfat file system, without partition table, that holds the given files.
func writeSeed(path string, files map[string][]byte) error {
	return writeVolume(path, seedLabel, files)
}

const cloudConfigHeader = "#cloud-config\n"

// Overrides are changes to a cloud-config that the harness makes for the user.
type Overrides struct {
	Hostname      string // "" leaves it
	AuthorizedKey string // added to ssh_authorized_keys; "" adds none
	// Cluster has keys of skerry.cluster to set: the token, the server to join.
	Cluster map[string]string
	// APIServerArgs replace kube-apiserver-arg, if there are any.
	APIServerArgs []string
	// Files are written as write_files does, readable by their owner only, by path.
	Files map[string]string
}

// Override changes a cloud-config. Comments and the order of keys survive, so that what a machine gets is still
// recognizably the user's file.
func Override(config []byte, o Overrides) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("cloud-config: %w", err)
	}
	if len(doc.Content) == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("cloud-config: line %d: not a mapping", root.Line)
	}
	if o.Hostname != "" {
		setScalar(root, "hostname", o.Hostname)
	}
	if o.AuthorizedKey != "" {
		keys := child(root, "ssh_authorized_keys", yaml.SequenceNode)
		keys.Content = append(keys.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: o.AuthorizedKey})
	}
	if len(o.Cluster) > 0 {
		cluster := child(child(root, "skerry", yaml.MappingNode), "cluster", yaml.MappingNode)
		for _, name := range slices.Sorted(maps.Keys(o.Cluster)) {
			setScalar(cluster, name, o.Cluster[name])
		}
	}
	if len(o.APIServerArgs) > 0 {
		cluster := child(child(root, "skerry", yaml.MappingNode), "cluster", yaml.MappingNode)
		args := child(cluster, "kube-apiserver-arg", yaml.SequenceNode)
		args.Content = nil
		for _, arg := range o.APIServerArgs {
			args.Content = append(args.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: arg})
		}
	}
	if len(o.Files) > 0 {
		files := child(root, "write_files", yaml.SequenceNode)
		for _, path := range slices.Sorted(maps.Keys(o.Files)) {
			file := &yaml.Node{Kind: yaml.MappingNode}
			setScalar(file, "path", path)
			setScalar(file, "permissions", "0600")
			setScalar(file, "content", o.Files[path])
			files.Content = append(files.Content, file)
		}
	}
	out, err := yaml.Marshal(&doc)
	if err != nil {
		return nil, fmt.Errorf("cloud-config: %w", err)
	}
	if !isCloudConfig(out) {
		out = append([]byte(cloudConfigHeader), out...)
	}
	return out, nil
}

func isCloudConfig(b []byte) bool {
	return len(b) >= len(cloudConfigHeader) && string(b[:len(cloudConfigHeader)]) == cloudConfigHeader
}

// child returns the value of a key, which is made, or made anew, if it is not of the wanted kind.
func child(mapping *yaml.Node, key string, kind yaml.Kind) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != key {
			continue
		}
		if mapping.Content[i+1].Kind != kind {
			mapping.Content[i+1] = &yaml.Node{Kind: kind}
		}
		return mapping.Content[i+1]
	}
	value := &yaml.Node{Kind: kind}
	mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
	return value
}

// setScalar sets a key to a text, or to the number that the text is.
func setScalar(mapping *yaml.Node, key, value string) {
	node := child(mapping, key, yaml.ScalarNode)
	node.Value, node.Tag, node.Style = value, "!!str", 0
	if n, err := strconv.Atoi(value); err == nil && strconv.Itoa(n) == value {
		node.Tag = "!!int"
	}
}
