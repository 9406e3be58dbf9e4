// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/loadbalancer"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/secureboot"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/unit"
	"github.com/skerry-os/skerry/daemon/version"
)

// Status returns the state of this machine.
func (b *Boot) Status(ctx context.Context) status.Machine {
	units := b.unitStatus(ctx)
	servers := b.servers(ctx)
	control := b.control(ctx)
	waiting := b.waitingForReboot()
	upgrades := b.upgradeStatus()
	b.mu.Lock()
	defer b.mu.Unlock()
	m := status.Machine{
		Version:    version.Skerry,
		Kubernetes: version.Kubernetes,
		Node:       b.nodeName,
		Role:       string(b.role),
		Phases:     b.sequence.Reports(),
		Units:      units,
		Servers:    servers,
		Control:    control,
		Reboot:     waiting,
		Upgrade:    upgrades,
		Ready:      b.ready,
	}
	m.Certificates = certificates(cmp.Or(b.section.DataDir, configschema.DefaultDataDir), time.Now())
	if b.section.DisableAgent {
		m.Node, m.NoAgent = "", true
	}
	if b.address != nil {
		m.Address = b.address.String()
	}
	if b.loaded != nil {
		m.Config = b.loaded.Document.Source
	}
	if b.trial != nil {
		m.Trial = b.trial.until
	}
	m.Repairs = repairs(repairsFile)
	m.Storage, m.Problems = b.encryption()
	extensions, wrong := b.extensionStatus()
	m.Extensions, m.Problems = extensions, append(m.Problems, wrong...)
	for _, p := range b.problems {
		m.Problems = append(m.Problems, p.String())
	}
	if b.Machine != nil {
		var problems []string
		m.SecureBoot, problems = b.secureBoot()
		m.Problems = append(m.Problems, problems...)
	}
	for _, s := range units {
		if s.Active != "active" && s.Name != unit.Images {
			m.Ready = false
		}
	}
	return m
}

// secureBoot is how the firmware stands to Secure Boot, with the problems that the machine has with it.
func (b *Boot) secureBoot() (secureboot.State, []string) {
	state, err := secureboot.StateOf(b.Machine.Root)
	if err != nil {
		return "", []string{"whether Secure Boot is on is not known: " + err.Error()}
	}
	if b.loaded == nil {
		return state, nil
	}
	if _, err := apply.KernelArgsWait(b.Machine, b.loaded); errors.Is(err, apply.ErrSecureBoot) {
		return state, []string{err.Error()}
	}
	return state, nil
}

// repairsFile is where the initrd tells of the file systems it has repaired.
const repairsFile = "/run/skerry/repairs"

// repairs returns the lines of a file, which isn't there where nothing was damaged.
func repairs(file string) []string {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []string{fmt.Sprintf("what was repaired is not known: %v", err)}
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// nodeTimeout is short: status is asked for when something hangs.
const nodeTimeout = time.Second

// controlTimeout leaves the datastore time to answer.
const controlTimeout = 3 * time.Second

// servers asks the node process for the servers it knows. One that doesn't
// answer is no reason to show no status; its unit says what is wrong with it.
func (*Boot) servers(ctx context.Context) []loadbalancer.ServerStatus {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	node, err := status.Get[status.Node](ctx, status.NodeSocket)
	if err != nil {
		return nil
	}
	return node.Servers
}

// control asks the control plane's process, as servers asks the node's.
func (b *Boot) control(ctx context.Context) *status.Control {
	b.mu.Lock()
	role := b.role
	b.mu.Unlock()
	if role != configschema.RoleServer {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	state, err := status.Get[status.Control](ctx, status.ControlSocket)
	if err != nil {
		return nil
	}
	return &state
}

// certificates says in short how those below a data directory are; nil where there are none yet.
func certificates(dataDir string, now time.Time) *status.Certificates {
	all, err := pki.Inspect(dataDir, now)
	if err != nil || len(all) == 0 {
		return nil
	}
	c := &status.Certificates{}
	for _, cert := range all {
		switch {
		case cert.Problem != "":
			c.Problems = append(c.Problems, cert.File+" is damaged: "+cert.Problem)
			continue
		case cert.State != pki.CertificateOK:
			c.Problems = append(c.Problems, fmt.Sprintf("%s: %s (%s)", cert.File, cert.State, cert.NotAfter.Format(time.DateOnly)))
		}
		if c.File == "" || cert.NotAfter.Before(c.Next) {
			c.Next, c.File = cert.NotAfter, cert.File
		}
	}
	return c
}
