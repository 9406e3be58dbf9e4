// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"strings"
)

// Form is how the text of a layer is written. The values are stored.
type Form string

// The forms of a layer.
const (
	// CloudConfig is a whole file that begins with #cloud-config.
	CloudConfig Form = ""
	// K3sConfig is a file of K3s' own, whose keys are those of skerry.cluster.
	K3sConfig Form = "k3s"
	// CommandLine is the kernel's, with words such as skerry.role=agent.
	CommandLine Form = "command-line"
	// standalone is a file that is never merged with another: a + at the end of
	// a key means nothing in it.
	standalone Form = "standalone"
)

// Layer is one of the texts that a configuration is made of. A later layer goes
// before an earlier one.
type Layer struct {
	// Name says what the layer is, such as "user-data"; File is what is named in
	// problems. They are the same for most.
	Name string `json:"name"`
	File string `json:"file"`
	Data []byte `json:"data"`
	Form Form   `json:"form,omitempty"`
	// Offset is the number of lines that File has before Data. It is -1 where
	// the header is not in the file.
	Offset int `json:"offset,omitempty"`
}

// defaultLayer is the origin of what no layer says.
const defaultLayer = "default"

// Origin is the place a value comes from.
type Origin struct {
	// Layer is the name of the layer; it is "default" for what no layer says.
	Layer string `json:"layer" yaml:"layer"`
	File  string `json:"file,omitempty" yaml:"file,omitempty"`
	Line  int    `json:"line,omitempty" yaml:"line,omitempty"`
	// Column counts from 1, as Line does.
	Column int `json:"column,omitempty" yaml:"column,omitempty"`
}

// Merged is a configuration that remembers where each of its values comes from.
type Merged struct {
	Config *Config

	layers []Layer
	places map[string]place
}

// ParseLayers merges layers, the first being the weakest, into one
// configuration. Either that is returned, or every problem that was found, each
// with the file and line of its layer.
//
// Mappings are merged key by key. Everything else, lists too, is replaced by the
// later layer. A key written with a + at its end, as in tls-san+, appends its
// list to what earlier layers have; this is K3s' rule.
func ParseLayers(layers []Layer) (*Config, Problems) {
	merged, problems := MergeLayers(layers)
	if len(problems) > 0 {
		return nil, problems
	}
	return merged.Config, nil
}

// MergeLayers is ParseLayers for those who want to know where a value is from.
func MergeLayers(layers []Layer) (*Merged, Problems) {
	d := newDecoder(layers)
	config := new(Config)
	d.document(config)
	if len(d.problems) > 0 {
		return nil, d.sorted()
	}
	return &Merged{Config: config, layers: layers, places: d.places}, nil
}

// InterimNetwork returns skerry.network of a configuration whose layers are not
// all there yet, or nil when they have none or it is not right. Tunnels are left
// out: their keys may be kept elsewhere.
func InterimNetwork(layers []Layer) *Network {
	d := newDecoder(layers)
	config := new(Config)
	d.document(config)
	for _, p := range d.problems {
		if p.Path == "" || strings.HasPrefix(p.Path, "skerry.network") {
			return nil
		}
	}
	if network := config.Skerry.Network; network != nil {
		network.Tunnels = nil
	}
	return config.Skerry.Network
}

// Origin returns the place of a path such as skerry.cluster.token. It says
// "default" for a path that no layer has.
func (m *Merged) Origin(path string) Origin {
	at, ok := m.places[path]
	if !ok {
		return Origin{Layer: defaultLayer}
	}
	layer, line := unstamp(at.line)
	return Origin{Layer: m.layers[layer].Name, File: m.layers[layer].File, Line: line, Column: at.column}
}

// A node of a merged tree has to say which layer it is from, and the YAML
// library's nodes have a line only. So the number of the layer is put into the
// upper bits of the line, as soon as a layer is read, and taken out again when a
// problem or an origin is told. (A file of MaxSize has fewer than 2^24 lines.)
const layerShift = 24

// maxLayers is what the upper bits can hold where int has 32 bits.
const maxLayers = 100

func stamp(layer, line int) int { return layer<<layerShift + line }

func unstamp(stamped int) (layer, line int) {
	return stamped >> layerShift, stamped & (1<<layerShift - 1)
}

// sorted returns the problems in the order of the layers and their lines, with
// the layer's file in each.
func (d *decoder) sorted() Problems {
	d.problems.sort()
	for i := range d.problems {
		p := &d.problems[i]
		var layer int
		layer, p.Line = unstamp(p.Line)
		p.Line = max(p.Line, 1)
		if layer < len(d.layers) {
			p.File = d.layers[layer].File
		}
	}
	return d.problems
}

// tooMany refuses a number of layers that nobody writes by hand.
func (d *decoder) tooMany() bool {
	if len(d.layers) <= maxLayers {
		return false
	}
	d.report(Problem{Message: fmt.Sprintf("the configuration has %d parts, more than %d", len(d.layers), maxLayers)})
	return true
}
