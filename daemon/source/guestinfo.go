// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"

	"gopkg.in/yaml.v3"
)

// GuestInfo reads the variables that VMware keeps for a virtual machine:
// guestinfo.userdata, guestinfo.metadata and guestinfo.vendordata, each with a
// variable of the same name and .encoding behind it.
type GuestInfo struct {
	// Get returns the value of a variable, empty where there is none, or
	// ErrAbsent with a reason where none can be asked for.
	Get func(ctx context.Context, key string) (string, error)
	Log *slog.Logger
}

// NewGuestInfo returns the source as it is on a running machine, which asks its
// host through a program of the image.
func NewGuestInfo(log *slog.Logger) *GuestInfo { return &GuestInfo{Get: guestVariable, Log: log} }

// Name returns "vmware".
func (*GuestInfo) Name() string { return "vmware" }

// Fetch reads the variables.
func (g *GuestInfo) Fetch(ctx context.Context) (*Document, error) {
	values := map[string][]byte{}
	for name, limit := range map[string]int64{"userdata": maxUserData, "metadata": maxMetaData, "vendordata": maxVendorData} {
		value, err := g.variable(ctx, "guestinfo."+name, limit)
		if errors.Is(err, ErrAbsent) {
			g.Log.Warn("this is a virtual machine of VMware's, but its host can't be asked for guestinfo: attach a volume labelled "+
				noCloudLabel+" instead, or allow it on the host", "error", err)
			return nil, ErrAbsent
		}
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	if values["userdata"] == nil && values["metadata"] == nil {
		return nil, ErrAbsent
	}
	metaData, network, err := splitGuestMetaData(values["metadata"])
	if err != nil {
		return nil, fmt.Errorf("read guestinfo.metadata: %w", err)
	}
	return newDocument("vmware", "VMware's guestinfo", map[string][]byte{
		userDataFile: values["userdata"], metaDataFile: metaData, networkConfigFile: network, vendorDataFile: values["vendordata"],
	})
}

func (g *GuestInfo) variable(ctx context.Context, key string, limit int64) ([]byte, error) {
	value, err := g.Get(ctx, key)
	if err != nil || strings.TrimSpace(value) == "" {
		return nil, err
	}
	encoding, err := g.Get(ctx, key+".encoding")
	if err != nil {
		return nil, err
	}
	data, err := decodeGuestInfo(value, strings.TrimSpace(encoding), limit)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", key, err)
	}
	// Three dashes are what an agent leaves of a variable that it has used up.
	if text := strings.TrimSpace(string(data)); text == "" || text == "---" {
		return nil, nil
	}
	return data, nil
}

// decodeGuestInfo decodes a value by the name of its encoding.
func decodeGuestInfo(value, encoding string, limit int64) ([]byte, error) {
	var packed bool
	switch encoding {
	case "", "plain":
		if int64(len(value)) > limit {
			return nil, fmt.Errorf("%w %d MiB", errLimit, limit>>20)
		}
		return []byte(value), nil
	case "base64", "b64":
	case "gzip+base64", "gz+b64":
		packed = true
	default:
		return nil, fmt.Errorf("unknown encoding %q: use base64 or gzip+base64", encoding)
	}
	data, err := decodeBase64([]byte(value))
	if err != nil {
		return nil, err
	}
	if packed && !bytes.HasPrefix(data, gzipMagic) {
		return nil, errors.New("is not compressed with gzip, although its encoding says so")
	}
	if !packed {
		if int64(len(data)) > limit {
			return nil, fmt.Errorf("%w %d MiB", errLimit, limit>>20)
		}
		return data, nil
	}
	return unpack(data, limit)
}

// decodeBase64 decodes what may be broken into lines, with or without padding.
func decodeBase64(text []byte) ([]byte, error) {
	joined := bytes.Join(bytes.Fields(text), nil)
	joined = bytes.TrimRight(joined, "=")
	data := make([]byte, base64.RawStdEncoding.DecodedLen(len(joined)))
	n, err := base64.RawStdEncoding.Decode(data, joined)
	if err != nil {
		return nil, errors.New("is not valid base64")
	}
	return data[:n], nil
}

// splitGuestMetaData takes the network definition out of VMware's meta-data,
// where it is a mapping, or a string in an encoding of its own.
func splitGuestMetaData(data []byte) (metaData, network []byte, err error) {
	if data == nil {
		return nil, nil, nil
	}
	var meta struct {
		Network  yaml.Node `yaml:"network"`
		Encoding string    `yaml:"network.encoding"`
	}
	if err := yaml.Unmarshal(data, &meta); err != nil {
		return nil, nil, fmt.Errorf("not valid: %w", err)
	}
	switch node := &meta.Network; {
	case node.IsZero() || node.Tag == "!!null":
		return data, nil, nil
	case node.Kind == yaml.ScalarNode:
		network, err = decodeGuestInfo(node.Value, meta.Encoding, maxNetworkConfig)
	case node.Kind == yaml.MappingNode:
		network, err = yaml.Marshal(node)
	default:
		err = fmt.Errorf("line %d: is neither a mapping nor an encoded string", node.Line)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("network: %w", err)
	}
	return data, network, nil
}

// guestProgram is a program of open-vm-tools. It speaks to the host over a port
// that VMware's processors have, and needs no daemon.
const guestProgram = "vmware-rpctool"

// guestVariable asks the host. Machines that only look like VMware's, and hosts
// that don't answer, have no variables, and may have another medium.
func guestVariable(ctx context.Context, key string) (string, error) {
	path, err := exec.LookPath(guestProgram)
	if err != nil {
		return "", fmt.Errorf("%w: %s is not installed", ErrAbsent, guestProgram)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "info-get "+key)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	said := strings.TrimSpace(stderr.String() + stdout.String())
	if strings.Contains(said, "No value found") {
		return "", nil
	}
	return "", fmt.Errorf("%w: %s: %w: %s", ErrAbsent, guestProgram, err, said)
}
