// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/tests/cluster"
)

// native is a machine that runs on this machine's kernel.
type native struct{ *cluster.Process }

func (n native) wires() []net.Conn      { return n.Wires }
func (n native) kill()                  { n.Kill() }
func (n native) ended() <-chan struct{} { return n.Exited() }
func (n native) reason() string         { return n.Reason() }

func (m *Machine) startNative(console, messages io.Writer) (power, error) {
	spec := cluster.Spec{
		Name: m.cfg.Name, Image: m.lab.cfg.Image, RootStart: m.lab.root.Start, RootSize: m.lab.root.Size,
		Dir: m.nativeDisk(), DataSize: int64(m.cfg.Disk) << 30, Credentials: map[string]string{},
	}
	for card := range m.cfg.NICs {
		spec.MACs = append(spec.MACs, m.MAC(card).String())
	}
	files, err := filepath.Glob(filepath.Join(m.credentialDir(), "*"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		spec.Credentials["skerry."+filepath.Base(file)] = file
	}
	for name, data := range m.cfg.Credentials {
		file := filepath.Join(m.dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, err
		}
		spec.Credentials[name] = file
	}
	process, err := cluster.Start(spec, console, messages)
	if err != nil {
		return nil, err
	}
	return native{process}, nil
}

// nativeDisk is what stands for the disk of a native machine.
func (m *Machine) nativeDisk() string { return filepath.Join(m.dir, "disk") }

func (m *Machine) credentialDir() string { return filepath.Join(m.dir, "credentials") }

// writeCredentials writes what a virtual machine has on its NoCloud volume.
func (m *Machine) writeCredentials(files map[string][]byte) error {
	if err := os.MkdirAll(m.credentialDir(), 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(m.credentialDir(), name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// rootPartition finds the root file system in an image.
func rootPartition(image string) (Partition, error) {
	partitions, err := Partitions(image)
	if err != nil {
		return Partition{}, err
	}
	for _, p := range partitions {
		if p.Type == TypeRoot {
			return p, nil
		}
	}
	return Partition{}, fmt.Errorf("%s has no root partition", image)
}
