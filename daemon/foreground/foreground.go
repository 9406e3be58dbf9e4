// SPDX-License-Identifier: Apache-2.0

// Package foreground runs a server or an agent as children of one process, for
// machines that are not Skerry's image: containerd, the control plane and the
// node, which are units of systemd elsewhere.
//
// It sets nothing of the machine itself: modules and settings of the kernel are
// for whoever runs it. Pods outlive it, as they outlive the units.
package foreground

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/images"
	"github.com/skerry-os/skerry/daemon/notify"
)

// Options say what to run, and where its parts are.
type Options struct {
	Role    configschema.Role
	Cluster configschema.Cluster
	// Notifier is told when the node is Ready.
	Notifier *notify.Notifier
	Log      *slog.Logger

	// What follows is set by Here, and otherwise in tests.

	// RunDir is for files that are gone with the boot.
	RunDir string
	// ContainerdConfig is the image's, which is changed where it has to be.
	ContainerdConfig string
	// ContainerdSocket is where containerd answers.
	ContainerdSocket string
	// Containerd and Skerry are the programs.
	Containerd, Skerry string
	// NodePassword is the file with the secret of this node.
	NodePassword string
	// Systemd says whether systemd manages the control groups.
	Systemd bool
}

// Here completes the options for this machine.
func (o Options) Here() (Options, error) {
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("find this program: %w", err)
	}
	_, err = os.Stat("/run/systemd/system")
	o.RunDir, o.ContainerdConfig, o.ContainerdSocket = "/run/skerry", "/etc/skerry/containerd.toml", images.Address
	o.Containerd, o.Skerry, o.NodePassword, o.Systemd = "/usr/bin/containerd", self, identity.PasswordFile, err == nil
	return o, nil
}

// child is one of the processes.
type child struct {
	name string
	argv []string
	// once is for what ends by itself, and isn't needed.
	once bool
	// grace is how long it has to end when it is told to.
	grace time.Duration
}

// maxChildren is how many there are on a server: containerd, control, images,
// node.
const maxChildren = 4

// Run runs everything until ctx ends or one of the processes does.
func Run(ctx context.Context, o Options) error {
	if err := o.check(ctx); err != nil {
		return err
	}
	config, err := o.prepare()
	if err != nil {
		return err
	}
	s := &supervisor{log: o.Log, runDir: o.RunDir, ended: make(chan ending, maxChildren)}
	defer s.stop()
	if err := s.start(child{name: "containerd", argv: []string{o.Containerd, "--config", config}, grace: 10 * time.Second}, nil); err != nil {
		return err
	}
	if err := s.waitSocket(ctx, o.ContainerdSocket); err != nil {
		return err
	}
	ready := make(chan string, 2)
	wanted := map[string]bool{"node": true}
	cluster := filepath.Join(o.RunDir, clusterFile)
	list := []child{
		{name: "images", argv: []string{o.Skerry, "images", "import"}, once: true, grace: time.Second},
		{name: "node", argv: []string{o.Skerry, "node", "--config", cluster, "--role", string(o.Role)}, grace: 30 * time.Second},
	}
	if o.Role == configschema.RoleServer {
		wanted["control"] = true
		// Started first, and stopped last but for containerd.
		list = append([]child{{name: "control", argv: []string{o.Skerry, "control", "--config", cluster}, grace: time.Minute}}, list...)
	}
	for _, c := range list {
		if err := s.start(c, func(state string) { o.told(c.name, state, ready) }); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			o.Log.Info("stopping; pods go on")
			return nil
		case name := <-ready:
			delete(wanted, name)
			if len(wanted) == 0 {
				o.Log.Info("the node is Ready")
				if err := o.Notifier.Ready(); err != nil {
					o.Log.Warn("report ready", "error", err)
				}
			}
		case e := <-s.ended:
			if err := e.failure(); err != nil {
				return err
			}
		}
	}
}

// told takes what a process says of itself, as to systemd.
func (o Options) told(name, state string, ready chan<- string) {
	for line := range strings.Lines(state) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "STATUS="); ok && name == "node" {
			if err := o.Notifier.Status(text); err != nil {
				o.Log.Warn("report status", "error", err)
			}
		}
		if line == "READY=1" {
			select {
			case ready <- name:
			default: // it has said so before
			}
		}
	}
}

const clusterFile = "cluster.yaml"

// check says what is missing before anything is changed.
func (o Options) check(ctx context.Context) error {
	for _, name := range []string{o.Containerd, o.Skerry, o.ContainerdConfig} {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("%w: it comes with Skerry's image", err)
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", o.ContainerdSocket)
	if err == nil {
		return errors.Join(fmt.Errorf("a containerd answers on %s already: is another server or agent running here?", o.ContainerdSocket), conn.Close())
	}
	return nil
}

// prepare writes what the processes read, and returns containerd's
// configuration.
func (o Options) prepare() (containerd string, err error) {
	if err := os.MkdirAll(o.RunDir, 0o755); err != nil {
		return "", err
	}
	data, err := os.ReadFile(o.ContainerdConfig)
	if err != nil {
		return "", err
	}
	text := strings.ReplaceAll(string(data), configschema.DefaultDataDir, o.Cluster.DataDir)
	cluster := o.Cluster
	if !o.Systemd {
		const systemd, plain = "SystemdCgroup = true", "SystemdCgroup = false"
		if !strings.Contains(text, systemd) {
			return "", fmt.Errorf("%s doesn't say %s, so that it can't be changed", o.ContainerdConfig, systemd)
		}
		text = strings.ReplaceAll(text, systemd, plain)
		cluster.KubeletArg = append([]string{"cgroup-driver=cgroupfs"}, cluster.KubeletArg...) // the user's counts
	}
	containerd = filepath.Join(o.RunDir, "containerd.toml")
	if err := atomicfile.Write(containerd, []byte(text), 0o600); err != nil {
		return "", err
	}
	encoded, err := configschema.EncodeCluster(&cluster)
	if err != nil {
		return "", fmt.Errorf("encode cluster configuration: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(o.RunDir, clusterFile), encoded, 0o600); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(o.NodePassword), 0o755); err != nil {
		return "", err
	}
	return containerd, identity.EnsureNodePassword(o.NodePassword)
}
