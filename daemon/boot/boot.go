// SPDX-License-Identifier: Apache-2.0

// Package boot is what `skerry daemon` does: it brings a machine from its
// cloud-config to a Ready node, phase by phase, and then watches over it.
//
// It starts processes only through systemd, and decides nothing that the
// cloud-config could say.
package boot

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/notify"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/storage"
	"github.com/skerry-os/skerry/daemon/unit"
	"github.com/skerry-os/skerry/daemon/upgrade"
)

// ClusterFile is where the control plane and the node read the cluster section,
// completed with what the daemon found out. It holds the token: 0600, in /run.
const ClusterFile = "/run/skerry/cluster.yaml"

// roleFile is beside it, and tells the unit of the node what the keys of K3s don't: that a machine with a server to join
// is a server, too.
const roleFile = "role"

// clusterPhase is the last one, in which the machine only waits.
const clusterPhase = "cluster"

// watchInterval is how often units are looked at once the node is Ready, and
// how often the watchdog is fed; systemd waits for 30 seconds.
const watchInterval = 10 * time.Second

// Boot is one boot of this machine.
type Boot struct {
	Units    unit.Manager
	Notifier *notify.Notifier
	// Sources says where the cloud-config can be.
	Sources func() (*source.Set, error)
	// Around is what the configuration is made of beside that.
	Around  config.Surroundings
	Machine *apply.Machine
	// StateDir is where the machine's identity is kept.
	StateDir string
	// Reboot asks for a reboot and returns: this process is ended by it.
	Reboot func(ctx context.Context) error
	// StatusSocket is where `skerry status` is answered.
	StatusSocket string
	// Storage is that of STATE and DATA; nil for a machine without a disk of its own.
	Storage *storage.Storage
	// Upgrades knows of other versions; nil for a machine without slots.
	Upgrades *upgrade.Upgrader
	// ConfigFile is where `skerry config show` reads what the configuration is
	// made of. Empty for nowhere.
	ConfigFile string
	// Live is nil on an installed system.
	Live *Live
	Log  *slog.Logger

	sequence *phase.Sequence
	loader   *config.Loader
	// Instead of the constants, in tests.
	addressLimit, fetchPause, settle time.Duration
	clusterFile                      string
	// running ends with the daemon.
	running context.Context
	// booted is the configuration that this boot began with.
	booted *config.Loaded

	mu       sync.Mutex
	loaded   *config.Loaded
	problems configschema.Problems
	role     configschema.Role
	nodeName string
	address  net.IP
	started  []string // units
	ready    bool
	late     chan struct{} // closed when the late stages have ended
	// units have this cluster section.
	section configschema.Cluster
	change  changeState
	trial   *trial
}

// Run boots the machine and stays until ctx ends. A boot that fails stays too:
// it has told the console why, and goes on answering `skerry status`.
func (b *Boot) Run(ctx context.Context) error {
	b.sequence = phase.NewSequence(b.Log, b.tell, b.phases()...)
	b.running = ctx
	serving := make(chan error, 1)
	go func() { serving <- status.Serve(ctx, b.StatusSocket, b.Status, change.Routes(b)...) }()
	go b.watch(ctx)
	go b.settleUpgrade(ctx)

	if err := b.sequence.Run(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		b.Log.Error("the boot stops here: " + err.Error())
		b.tell("failed: " + err.Error())
	} else if b.Live != nil {
		// It is no node, and does what it is for: nothing waits for it any longer.
		if err := b.Notifier.Ready(); err != nil {
			return err
		}
	} else {
		b.mu.Lock()
		b.ready = true
		b.mu.Unlock()
		if b.runsPods() {
			b.Log.Info(fmt.Sprintf("node %s (%s) is Ready as %s", b.nodeName, b.address, b.role))
			b.tell("node " + b.nodeName + " is Ready")
		} else {
			b.Log.Info(fmt.Sprintf("server %s (%s) is Ready; it runs no pods", b.nodeName, b.address))
			b.tell("server " + b.nodeName + " is Ready")
		}
		if err := b.Notifier.Ready(); err != nil {
			return err
		}
		go b.afterReady(ctx)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-serving:
		return err
	}
}

func (b *Boot) phases() []phase.Phase {
	if b.Live != nil {
		return b.livePhases()
	}
	return []phase.Phase{
		{Name: "early", Run: b.early},
		{Name: "network", Run: b.network},
		{Name: "clock", Run: b.clock},
		{Name: "extensions", Run: b.extensions}, // Kubernetes, and what it runs, find them there
		{Name: "role", Run: b.chooseRole},
		{Name: clusterPhase, Run: b.cluster},
	}
}

// chooseRole decides between server and agent, writes down what their
// processes need to know, and starts containerd.
func (b *Boot) chooseRole(ctx context.Context) error {
	role := b.loaded.Config.Skerry.EffectiveRole()
	cluster := b.loaded.Config.Skerry.Cluster
	cluster.NodeIP = nodeIPs(cluster, b.address)
	if cluster.NodeName == "" {
		cluster.NodeName = b.loaded.Hostname
	}
	name, err := identity.NodeName(cluster.NodeName, bool(cluster.WithNodeID))
	if err != nil {
		return err
	}
	cluster.NodeName, cluster.WithNodeID = name, false // the id is in the name now
	b.mu.Lock()
	b.role, b.nodeName = role, cluster.NodeName
	b.mu.Unlock()
	if err := atomicfile.Sweep(b.StateDir, filepath.Dir(identity.PasswordFile)); err != nil {
		return err
	}
	if err := identity.EnsureNodePassword(identity.PasswordFile); err != nil {
		return err
	}
	if err := b.writeCluster(cluster); err != nil {
		return err
	}
	b.Log.Info("this machine is a Kubernetes "+string(role), "node", cluster.NodeName)
	for _, line := range b.loaded.Config.Skerry.Warnings() {
		b.Log.Warn(line)
	}
	if !b.runsPods() {
		return nil
	}
	return b.start(ctx, unit.Containerd)
}

// runsPods is false for a server without an agent.
func (b *Boot) runsPods() bool { return !bool(b.clusterSection().DisableAgent) }

// writeCluster writes what the units of Kubernetes read when they start.
func (b *Boot) writeCluster(cluster configschema.Cluster) error {
	data, err := configschema.EncodeCluster(&cluster)
	if err != nil {
		return fmt.Errorf("encode cluster configuration: %w", err)
	}
	name := cmp.Or(b.clusterFile, ClusterFile)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	role := filepath.Join(filepath.Dir(name), roleFile)
	if err := atomicfile.Write(role, fmt.Appendf(nil, "SKERRY_ROLE=%s\n", b.role), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", role, err)
	}
	if err := atomicfile.Write(name, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	b.mu.Lock()
	b.section = cluster
	b.mu.Unlock()
	return nil
}

// cluster starts Kubernetes and waits until this node is Ready in it. On a
// server the node is started at once, too: it waits for the supervisor itself,
// and its start overlaps with that of the control plane. A server without an
// agent has no node, and is ready when the API is.
func (b *Boot) cluster(ctx context.Context) error {
	if b.role == configschema.RoleServer {
		if err := b.start(ctx, unit.Control); err != nil {
			return err
		}
	}
	if b.runsPods() {
		if err := b.start(ctx, unit.Node); err != nil {
			return err
		}
	}
	if err := b.forgetRestarts(); err != nil {
		return err
	}
	// Beside Kubernetes, which must not wait for images that are there already, and starts its pods as each arrives. There is no
	// pod to start before the node is Ready: until then the unit has the processor time that Kubernetes leaves. containerd has its
	// share: with the import's it never came to its first line on a single processor, and its start ran out of time.
	if b.runsPods() {
		if err := b.start(ctx, unit.Images); err != nil {
			return err
		}
	}
	if b.role == configschema.RoleServer {
		if err := unit.WaitActive(ctx, b.Units, unit.Control, b.Log); err != nil {
			return err
		}
		b.Log.Info("the Kubernetes API is ready")
	}
	if !b.runsPods() {
		return nil
	}
	if err := unit.WaitActive(ctx, b.Units, unit.Node, b.Log); err != nil {
		return err
	}
	// From here on pods wait for images.
	return unit.SetCPUWeight(ctx, b.Units, unit.Images, unit.WeightNormal)
}

func (b *Boot) start(ctx context.Context, name string) error {
	start := unit.Start
	if again, err := b.needsRestart(name); err != nil {
		return err
	} else if again {
		start = unit.Restart
	}
	if err := start(ctx, b.Units, name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = append(b.started, name)
	return nil
}

// watch feeds the watchdog, and logs when a unit of a Ready node stops or
// starts to run.
func (b *Boot) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	down := map[string]bool{}
	for {
		if err := b.Notifier.Alive(); err != nil {
			b.Log.Warn("feed the watchdog", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		b.mu.Lock()
		ready := b.ready
		b.mu.Unlock()
		if !ready {
			continue // WaitActive tells what happens
		}
		for _, s := range b.unitStatus(ctx) {
			// The import of images is done when it has ended.
			isDown := s.Active != "active" && s.Name != unit.Images
			if isDown != down[s.Name] {
				b.Log.Warn("unit is "+s.Active, "unit", s.Name, "says", s.Text, "restarts", s.Restarts)
			}
			down[s.Name] = isDown
		}
	}
}

func (b *Boot) unitStatus(ctx context.Context) []unit.Status {
	b.mu.Lock()
	names := append([]string(nil), b.started...)
	b.mu.Unlock()
	var out []unit.Status
	for _, name := range names {
		s, err := unit.Get(ctx, b.Units, name)
		if err != nil {
			s = unit.Status{Name: name, Active: "unknown", Text: err.Error()}
		}
		out = append(out, s)
	}
	return out
}

func (b *Boot) tell(line string) {
	if err := b.Notifier.Status(line); err != nil {
		b.Log.Warn("report status", "error", err)
	}
}
