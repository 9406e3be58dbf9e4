// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/transport"
	"k8s.io/component-base/version"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/control"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/node"
	"github.com/skerry-os/skerry/daemon/nodeaddr"
	"github.com/skerry-os/skerry/daemon/nodeupgrade"
	"github.com/skerry-os/skerry/daemon/notify"
)

const (
	defaultConfig    = "/etc/rancher/k3s/config.yaml"
	shippedManifests = "/usr/share/skerry/manifests"
	// certificateReload is how often clients of the API look whether their
	// certificate was renewed.
	certificateReload = 30 * time.Second
)

// process is what control and node have in common: who this machine is.
type process struct {
	configFile string
	role       string // of the node process, "" for what the configuration says
	// upgradeProgram is that of the node process, "" for the image's own.
	upgradeProgram string
	cluster        configschema.Cluster
	nodeName       string
	nodeIPs        []net.IP // the first is by which the node is known
	external       []net.IP
	notifier       *notify.Notifier
	log            *slog.Logger
}

func (p *process) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&p.configFile, "config", "c", defaultConfig, "read K3s' `config.yaml` keys from this file")
}

// start reads the configuration and finds out name and address.
func (p *process) start(ctx context.Context) error {
	p.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	// Five minutes are long for a machine that slept past the expiry of its
	// certificates.
	transport.CertCallbackRefreshDuration = certificateReload
	hurry(p.log)
	notifier, err := notify.Take()
	if err != nil {
		return err
	}
	p.notifier = notifier
	data, err := os.ReadFile(p.configFile)
	if err != nil {
		return fmt.Errorf("read cluster configuration: %w", err)
	}
	cluster, problems := configschema.ParseCluster(p.configFile, data)
	if err := problems.Err(); err != nil {
		return err
	}
	if p.cluster, err = cluster.WithDefaults(); err != nil {
		return err
	}
	if p.cluster.Debug {
		p.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if err := readToken(&p.cluster); err != nil {
		return err
	}
	if p.nodeName, err = nodeName(p.cluster); err != nil {
		return err
	}
	p.status("waiting for the network")
	address, err := nodeaddr.Wait(ctx, p.cluster, nil, p.log)
	if err != nil {
		return fmt.Errorf("find this machine's address: %w", err)
	}
	p.nodeIPs = []net.IP{address}
	if len(p.cluster.NodeIP) > 1 {
		if p.nodeIPs, err = parseIPs("node-ip", p.cluster.NodeIP); err != nil {
			return err
		}
	}
	if p.external, err = parseIPs("node-external-ip", p.cluster.NodeExternalIP); err != nil {
		return err
	}
	p.log.Info("starting", "version", version.Get().GitVersion, "node", p.nodeName, "addresses", p.nodeIPs)
	return nil
}

func parseIPs(key string, texts []string) ([]net.IP, error) {
	var all []net.IP
	for _, text := range texts {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, fmt.Errorf("%s %q is no IP address", key, text)
		}
		all = append(all, ip)
	}
	return all, nil
}

// status tells systemd and the journal what the process is doing.
func (p *process) status(line string) {
	p.log.Info(line)
	if err := p.notifier.Status(line); err != nil {
		p.log.Warn("report status", "error", err)
	}
}

// lastWords leaves the error that ends the process where the console and skerry status show it, until the next start.
func (p *process) lastWords(err error) error {
	if err != nil && p.notifier != nil {
		line := strings.ReplaceAll(err.Error(), "\n", "; ") // one line, by systemd's protocol
		if err := p.notifier.Status(line); err != nil {
			p.log.Warn("report status", "error", err)
		}
	}
	return err
}

func (p *process) ready() {
	if err := p.notifier.Ready(); err != nil {
		p.log.Error("report ready", "error", err)
	}
	time.AfterFunc(settleAfter, settle)
}

// nodeName returns node-name, or the host's name.
func nodeName(c configschema.Cluster) (string, error) {
	name := c.NodeName
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("read the host's name: %w", err)
		}
		name = host
	}
	return identity.NodeName(name, bool(c.WithNodeID))
}

// readToken replaces token-file by what is in it.
func readToken(c *configschema.Cluster) error {
	if c.TokenFile == "" {
		return nil
	}
	data, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return fmt.Errorf("read token-file: %w", err)
	}
	c.Token = configschema.Secret(strings.TrimSpace(string(data)))
	if c.Token.Reveal() == "" {
		return fmt.Errorf("token-file %s is empty", c.TokenFile)
	}
	return nil
}

// isServer reports whether the node's control plane is on this machine.
func (p *process) isServer() bool {
	if p.role != "" {
		return p.role == string(configschema.RoleServer)
	}
	return p.cluster.Server == ""
}

func controlCommand() *cobra.Command {
	var p process
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Run the control plane: datastore, kube-apiserver, controllers, supervisor",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return command.Failed(p.lastWords(p.control(ctx)))
		},
	}
	p.flags(cmd)
	return cmd
}

func (p *process) control(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	return control.Run(ctx, control.Options{
		Cluster:          p.cluster,
		NodeName:         p.nodeName,
		NodeIPs:          p.nodeIPs,
		NodeExternalIPs:  p.external,
		Manifests:        shippedManifests,
		NodePasswordFile: identity.PasswordFile,
		Status:           p.status,
		Ready: func() {
			p.status("serving the Kubernetes API")
			p.ready()
		},
		Log: p.log,
	})
}

func nodeCommand() *cobra.Command {
	var p process
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run the node: registration, tunnel, kubelet, kube-proxy, pod network",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The kubelet handles SIGINT and SIGTERM itself once it runs; until
			// then they end the process, which has nothing to save.
			return command.Failed(p.lastWords(p.node(cmd.Context())))
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&p.upgradeProgram, "upgrade-program", "", "upgrade this machine by `PROGRAM` upgrade check, apply and status when an UpgradePlan asks for it; "+nodeupgrade.DefaultProgram+" by default, on a machine with slots")
	cmd.Flags().StringVar(&p.role, "role", "", "whether the machine is a `server` or an agent; agent by default where the configuration has a server")
	return cmd
}

func (p *process) node(ctx context.Context) error {
	if r := configschema.Role(p.role); r != "" && r != configschema.RoleServer && r != configschema.RoleAgent {
		return fmt.Errorf("--role %q is neither server nor agent", p.role)
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	password, err := identity.NodePassword(identity.PasswordFile)
	if err != nil {
		return err
	}
	bootID, err := identity.BootID()
	if err != nil {
		return err
	}
	upgrades, err := p.upgrades()
	if err != nil {
		return err
	}
	return node.Run(ctx, node.Options{
		Cluster:        p.cluster,
		Server:         p.isServer(),
		NodeName:       p.nodeName,
		NodeIPs:        p.nodeIPs,
		ExternalIPs:    p.external,
		NodePassword:   password,
		BootID:         bootID,
		UpgradeProgram: upgrades,
		Status:         p.status,
		Ready:          p.ready,
		Log:            p.log,
	})
}

// upgrades is the program that upgrades this machine for the cluster.
func (p *process) upgrades() (string, error) {
	if p.upgradeProgram != "" {
		return p.upgradeProgram, nil
	}
	has, err := nodeupgrade.HasSlots()
	if err != nil || !has {
		return "", err
	}
	return nodeupgrade.DefaultProgram, nil
}
