// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/include"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/userdata"
)

// Surroundings are what a machine has beside its user-data. An empty path is
// passed over.
type Surroundings struct {
	// MachineID is machine-id(5), for a machine that nobody has named.
	MachineID string
	// ImageDir has the cloud-configs of the image.
	ImageDir string
	// K3sDir has K3s' config.yaml, and its config.yaml.d.
	K3sDir string
	// CommandLine is the kernel's, as a file.
	CommandLine string
	// Fetcher gets what the user-data includes. AtHand is for a time without the
	// network: what it doesn't have is left to Fetcher.
	Fetcher, AtHand userdata.Fetcher
}

// Here returns the surroundings on a running machine.
func Here(log *slog.Logger) Surroundings {
	includes := &include.Kept{Fetcher: include.NewWeb(log), Dir: include.Dir, Log: log}
	return Surroundings{
		MachineID:   identity.MachineIDFile,
		ImageDir:    "/usr/share/skerry/cloud-config.d",
		K3sDir:      "/etc/rancher/k3s",
		CommandLine: "/proc/cmdline",
		Fetcher:     includes,
		AtHand:      includes.AtHand(),
	}
}

// Held returns the same surroundings for a configuration that is only looked at:
// what it includes and is fetched is kept by keep, if at all.
func (s Surroundings) Held() (held Surroundings, keep func() error) {
	copies, ok := s.Fetcher.(*include.Kept)
	if !ok {
		return s, func() error { return nil }
	}
	fetcher, keep := copies.Held()
	s.Fetcher, s.AtHand = fetcher, fetcher.AtHand()
	return s, keep
}

// Layers are all that a configuration is made of, the weakest first.
type Layers struct {
	Image       []configschema.Layer `json:"image,omitempty"`
	UserData    []configschema.Layer `json:"user-data,omitempty"`
	K3s         []configschema.Layer `json:"k3s,omitempty"`
	CommandLine []configschema.Layer `json:"command-line,omitempty"`
	// Scripts are those of the user-data.
	Scripts []userdata.Part `json:"scripts,omitempty"`
	// Document is where the user-data is from.
	Document *source.Document `json:"document"`

	// unfetched names what the user-data includes and is not here yet.
	unfetched []string
}

// All returns the layers in the order in which they are merged.
func (l *Layers) All() []configschema.Layer {
	var all []configschema.Layer
	for _, some := range [][]configschema.Layer{l.Image, l.UserData, l.K3s, l.CommandLine} {
		all = append(all, some...)
	}
	return all
}

// Merge merges the layers. What is wrong with them comes as
// configschema.Problems.
func (l *Layers) Merge() (*configschema.Merged, error) {
	merged, problems := configschema.MergeLayers(l.All())
	if len(problems) > 0 {
		return nil, problems
	}
	if merged.Config.Skerry.AllowScripts {
		return merged, nil
	}
	for _, script := range l.Scripts {
		problems = append(problems, configschema.Problem{File: script.Name, Line: script.Offset + 1, Column: 1,
			Message: "this is a script, and scripts are not allowed",
			Hint:    "set skerry.allow-scripts: true to run it once, as root"})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return merged, nil
}

// SetUserData replaces the user-data with the parts of another.
func (l *Layers) SetUserData(parts []userdata.Part) {
	l.UserData, l.Scripts, l.unfetched = nil, nil, nil
	for _, part := range parts {
		switch part.Kind {
		case userdata.CloudConfig:
			l.UserData = append(l.UserData, configschema.Layer{Name: part.Name, File: part.Name, Data: part.Data, Offset: part.Offset})
		case userdata.Script:
			l.Scripts = append(l.Scripts, part)
		case userdata.Unfetched:
			l.unfetched = append(l.unfetched, part.Name)
		}
	}
}

// layers collects the layers of a machine with this document. What is wrong with
// the forms of the user-data comes as configschema.Problems.
func (s Surroundings) layers(ctx context.Context, document *source.Document, fetcher userdata.Fetcher) (*Layers, error) {
	l := &Layers{Document: document}
	instance, err := l.Instance()
	if err != nil {
		return nil, err
	}
	// The name in messages is the file's: people look for a file to correct.
	parts, err := userdata.Expand(ctx, userdata.Options{Name: document.UserDataName, Data: document.UserData, Fetcher: fetcher, Instance: instance})
	if err != nil {
		return nil, err
	}
	l.SetUserData(parts)
	if l.Image, err = readDir(s.ImageDir, configschema.CloudConfig); err != nil {
		return nil, err
	}
	if s.K3sDir != "" {
		if l.K3s, err = K3sLayers("", filepath.Join(s.K3sDir, "config.yaml")); err != nil {
			return nil, err
		}
	}
	if s.CommandLine != "" {
		text, err := os.ReadFile(s.CommandLine)
		if err != nil {
			return nil, fmt.Errorf("read the kernel command line: %w", err)
		}
		l.CommandLine = []configschema.Layer{configschema.CommandLineLayer(string(text))}
	}
	return l, nil
}

// K3sLayers reads a config.yaml of K3s, and what is in the folder config.yaml.d
// beside it. Without a name it is the usual one, which may be missing.
func K3sLayers(name, usual string) ([]configschema.Layer, error) {
	base, err := readLayer(cmp.Or(name, usual), configschema.K3sConfig)
	var layers []configschema.Layer
	switch {
	case err == nil:
		layers = append(layers, base)
	case name != "" || !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	more, err := readDir(cmp.Or(name, usual)+".d", configschema.K3sConfig)
	return append(layers, more...), err
}

func readLayer(path string, form configschema.Form) (configschema.Layer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return configschema.Layer{}, fmt.Errorf("read %s: %w", path, err)
	}
	return configschema.Layer{Name: path, File: path, Data: data, Form: form}, nil
}

// readDir reads the YAML files of a folder by their names, as K3s does. A
// missing folder has none.
func readDir(dir string, form configschema.Form) ([]configschema.Layer, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	var layers []configschema.Layer
	for _, entry := range entries {
		extension := strings.ToLower(filepath.Ext(entry.Name()))
		if entry.IsDir() || extension != ".yaml" && extension != ".yml" {
			continue
		}
		layer, err := readLayer(filepath.Join(dir, entry.Name()), form)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return layers, nil
}

// Instance is what templates may know.
func (l *Layers) Instance() (userdata.Instance, error) {
	document := l.Document
	instance := userdata.Instance{LocalHostname: document.LocalHostname, InstanceID: document.InstanceID, CloudName: document.Source}
	if err := yaml.Unmarshal(document.MetaData, &instance.MetaData); err != nil {
		return instance, fmt.Errorf("read the meta-data of %s: %w", document.Name, err)
	}
	// Where the clouds have them.
	placement, _ := instance.MetaData["placement"].(map[string]any)
	for _, from := range []map[string]any{placement, instance.MetaData} {
		for _, key := range []string{"availability-zone", "availability_zone"} {
			if zone, ok := from[key].(string); ok {
				instance.AvailabilityZone = zone
			}
		}
		if region, ok := from["region"].(string); ok {
			instance.Region = region
		}
	}
	return instance, nil
}

// RunningFile is where the daemon says what the machine's configuration is made
// of, for `skerry config show` and `diff`. It holds secrets: 0600, in /run.
const RunningFile = "/run/skerry/config/layers.json"

// Publish writes the layers to a file.
func (l *Layers) Publish(path string) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode the layers of the configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteIfChanged(path, data, 0o600)
}

// ReadLayers reads what Publish has written.
func ReadLayers(path string) (*Layers, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	l := new(Layers)
	if err := json.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return l, nil
}
