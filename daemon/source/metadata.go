// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// metaData is what of a meta-data file concerns us. The rest is for others:
// unlike user-data, tools write it, and each adds keys of its own.
type metaData struct {
	InstanceID    scalar     `yaml:"instance-id,omitempty"`
	LocalHostname string     `yaml:"local-hostname,omitempty"`
	PublicKeys    publicKeys `yaml:"public-keys,omitempty"`
}

func parseMetaData(data []byte) (metaData, error) {
	var meta metaData
	if err := yaml.Unmarshal(data, &meta); err != nil {
		return metaData{}, fmt.Errorf("not valid: %w", err)
	}
	return meta, nil
}

// scalar is a string that clouds also write as a number, as it is written: what
// is compared must not depend on how YAML reads 0123 or 1e3.
type scalar string

// UnmarshalYAML takes any single value.
func (s *scalar) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: is not a single value", node.Line)
	}
	*s = ""
	if node.Tag != "!!null" {
		*s = scalar(node.Value)
	}
	return nil
}

// publicKeys are SSH keys in every form in which cloud-init takes them: one
// string, a list, a mapping of names to either.
type publicKeys []string

// UnmarshalYAML collects the keys.
func (k *publicKeys) UnmarshalYAML(node *yaml.Node) error {
	*k = nil
	return k.collect(node, 0)
}

func (k *publicKeys) collect(node *yaml.Node, depth int) error {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
	case node.Kind == yaml.ScalarNode:
		*k = append(*k, keyLines(node.Value)...)
	case node.Kind == yaml.SequenceNode && depth < 2:
		for _, item := range node.Content {
			if err := k.collect(item, depth+1); err != nil {
				return err
			}
		}
	case node.Kind == yaml.MappingNode && depth < 2:
		for i := 1; i < len(node.Content); i += 2 {
			if err := k.collect(node.Content[i], depth+1); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("line %d: public-keys is neither a list nor a mapping of keys", node.Line)
	}
	return nil
}

// keyLines returns the keys of an authorized_keys file.
func keyLines(text string) []string {
	var keys []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	return keys
}

// answer is what a cloud knows about this machine, in whatever format.
type answer struct {
	instanceID, hostname string
	keys                 []string
	// userData of nothing but blanks is none: some clouds cannot say it better.
	userData, vendorData []byte
	network              []byte
	networkKind          NetworkConfigKind
}

// document makes a document of the answer.
func (a *answer) document(kind, name string) (*Document, error) {
	if a.instanceID == "" {
		return nil, fmt.Errorf("%s says no instance-id: it is not the metadata server it seems to be", name)
	}
	meta := metaData{InstanceID: scalar(a.instanceID), LocalHostname: hostname(a.hostname)}
	for _, key := range a.keys {
		for _, line := range keyLines(key) {
			if !slices.Contains(meta.PublicKeys, line) {
				meta.PublicKeys = append(meta.PublicKeys, line)
			}
		}
	}
	rendered, err := yaml.Marshal(&meta)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{metaDataFile: rendered, userDataFile: unlessBlank(a.userData), vendorDataFile: unlessBlank(a.vendorData)}
	if network := unlessBlank(a.network); network != nil {
		files[string(a.networkKind)] = network
	}
	return newDocument(kind, name, files)
}

func unlessBlank(data []byte) []byte {
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil
	}
	return data
}

// maxHostname is the kernel's limit for a name.
const maxHostname = 64

// hostname makes a host name of what somebody called a machine in a cloud's
// console, where blanks and capitals are nothing special. It returns an empty
// string where nothing is left; the machine then gets a name of its own.
func hostname(given string) string {
	// EC2 gives several names where a network has several domains.
	if names := strings.Fields(given); len(names) > 1 && strings.Contains(names[0], ".") {
		given = names[0]
	}
	var labels []string
	for label := range strings.SplitSeq(strings.ToLower(strings.TrimSpace(given)), ".") {
		label = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return '-'
		}, label)
		if len(label) > 63 {
			label = label[:63]
		}
		if label = strings.Trim(label, "-"); label != "" {
			labels = append(labels, label)
		}
	}
	name := strings.Join(labels, ".")
	if len(name) > maxHostname {
		name = labels[0] // a domain of the cloud's own, of no use to anybody else
	}
	if name == "localhost" || strings.HasPrefix(name, "localhost.") {
		return ""
	}
	return name
}
