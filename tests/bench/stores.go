// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-os/skerry/tests/database"
)

// Stores are measured natively: the control plane of one server and nothing else, without controllers, for each kind of
// datastore, beside upstream's kube-apiserver with an etcd of its own. All of it, and the client, runs in a network
// namespace without any way out, on this machine's processors and disk. Upstream's etcd is spoken to without TLS, which is
// to its advantage.

// StoreReport is what one kind of datastore has done.
type StoreReport struct {
	Name string `json:"name"`
	Load
	// Memory is the proportional set size in MiB of what serves the API, and of an etcd that is a part of it, with
	// Objects objects; Database is that of a database beside it, 0 for none.
	Memory   float64 `json:"memory_mib"`
	Database float64 `json:"database_mib"`
}

const (
	storesInside = "stores-inside" // the first argument of the process in the namespace
	// storesInsideArgs is how many it has, with its name.
	storesInsideArgs = 5
	upstreamName     = "upstream's kube-apiserver and etcd"
	storeNode        = "bench"
	storeToken       = "the-token-of-the-bench"
	// serveTimeout is for a control plane to serve.
	serveTimeout = 3 * time.Minute
)

// storeAddress is on the loopback of the namespace, but is no address of the loopback: servers want one that others could
// reach.
var storeAddress = net.IPv4(10, 99, 0, 1)

// storeKinds are measured in this order, after upstream.
var storeKinds = []database.Kind{"sqlite", "embedded-etcd", database.Etcd, database.Postgres, database.MariaDB}

// stores measures all kinds in a process of its own, in namespaces of its own.
func (b *bench) stores(ctx context.Context) ([]StoreReport, error) {
	say("measure datastores beside upstream's etcd, natively")
	dir, err := filepath.Abs(filepath.Join(b.build, "bench-stores"))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	kube := filepath.Join(filepath.Dir(filepath.Dir(b.skerry)), "libexec", "skerry", "skerry-kube")
	cmd := exec.CommandContext(ctx, self, storesInside, dir, kube, b.rivals)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("measure datastores: %w; what they said is in %s", err, dir)
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return nil, err
	}
	var reports []StoreReport
	return reports, json.Unmarshal(data, &reports)
}

// measureStores adds what concerns datastores to a report.
func (r *Report) measureStores(ctx context.Context, b *bench) (err error) {
	if r.Growth, err = b.growth(ctx); err != nil {
		return err
	}
	r.Stores, err = b.stores(ctx)
	return err
}

// inNamespace is the process in the namespace.
func inNamespace() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := storesInNamespace(ctx, os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func storesInNamespace(ctx context.Context, dir, kube, rivals string) error {
	if err := enterNamespace(); err != nil {
		return err
	}
	reports := []StoreReport{}
	report, err := measureStore(ctx, upstreamName, func(work string) (*served, error) { return startUpstream(ctx, work, rivals) }, dir)
	if err != nil {
		return err
	}
	reports = append(reports, report)
	for _, kind := range storeKinds {
		report, err := measureStore(ctx, string(kind), func(work string) (*served, error) { return startOurs(ctx, work, kube, kind) }, dir)
		if err != nil {
			return err
		}
		reports = append(reports, report)
	}
	data, err := json.Marshal(reports)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "report.json"), data, 0o644)
}

// enterNamespace prepares what was made for this process: a loopback, and a /run of its own.
func enterNamespace() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Mkdir("/run/skerry", 0o755); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: storeAddress, Mask: net.CIDRMask(32, 32)}}
	return errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, address))
}

// served is an API and what is behind it.
type served struct {
	kubeconfig string
	api        []*exec.Cmd // each in a process group of its own
	database   *database.Server
}

func (s *served) stop() {
	for _, cmd := range slices.Backward(s.api) {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) //nolint:errcheck // it may have ended
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }() //nolint:errcheck // it was told to end
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
			<-ended
		}
	}
	if s.database != nil {
		s.database.Close()
	}
}

func measureStore(ctx context.Context, name string, start func(work string) (*served, error), dir string) (report StoreReport, err error) {
	say("  %s", name)
	work, err := os.MkdirTemp(dir, "store-")
	if err != nil {
		return StoreReport{}, err
	}
	s, err := start(work)
	if s != nil {
		defer s.stop()
	}
	if err != nil {
		return StoreReport{}, fmt.Errorf("%s: %w", name, err)
	}
	config, err := s.wait(ctx)
	if err != nil {
		return StoreReport{}, fmt.Errorf("%s: %w", name, err)
	}
	report.Name = name
	if report.Load, err = measureLoad(ctx, config); err != nil {
		return StoreReport{}, fmt.Errorf("%s: %w", name, err)
	}
	for _, cmd := range s.api {
		mib, err := groupPSS(cmd.Process.Pid)
		if err != nil {
			return StoreReport{}, err
		}
		report.Memory += mib
	}
	if s.database != nil {
		report.Database, err = groupPSS(s.database.Group())
	}
	return report, err
}

// wait waits until the API serves.
func (s *served) wait(ctx context.Context) (*rest.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	var last error
	for {
		config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
		if err == nil {
			config.QPS = -1
			config.ContentType = "application/vnd.kubernetes.protobuf"
			var client *kubernetes.Clientset
			if client, err = kubernetes.NewForConfig(config); err == nil {
				if _, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err == nil {
					return config, nil
				}
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("it does not serve: %w", last)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *served) run(work string, argv ...string) error {
	log, err := os.Create(filepath.Join(work, filepath.Base(argv[0])+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // stop ends it, in order
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.api = append(s.api, cmd)
	return nil
}

func startUpstream(_ context.Context, work, programs string) (*served, error) {
	kubeconfig, err := rivalIdentity(work, storeAddress)
	if err != nil {
		return nil, err
	}
	s := &served{kubeconfig: filepath.Join(work, "bench.kubeconfig")}
	if err := os.WriteFile(s.kubeconfig, kubeconfig, 0o600); err != nil {
		return nil, err
	}
	// As in its machine, but for the folders.
	here := strings.NewReplacer(rivalMount, work, "/var/lib/rival-etcd", filepath.Join(work, "etcd"))
	for _, command := range rivalCommands(storeAddress)[:2] {
		argv := []string{filepath.Join(programs, command[0])}
		for _, argument := range command[1:] {
			argv = append(argv, here.Replace(argument))
		}
		if command[0] == "kube-apiserver" {
			argv = append(argv, "--cert-dir="+filepath.Join(work, "certs"))
		}
		if err := s.run(work, argv...); err != nil {
			return s, err
		}
	}
	return s, nil
}

func startOurs(ctx context.Context, work, kube string, kind database.Kind) (*served, error) {
	s := &served{kubeconfig: filepath.Join(work, "admin.kubeconfig")}
	config := map[string]any{
		"data-dir": filepath.Join(work, "data"), "node-name": storeNode, "node-ip": storeAddress.String(), "token": storeToken,
		"write-kubeconfig": s.kubeconfig, "disable-agent": true, "etcd-disable-snapshots": true,
		// Upstream's are not running either.
		"disable-controller-manager": true, "disable-scheduler": true, "disable-cloud-controller": true,
	}
	switch kind {
	case "sqlite":
	case "embedded-etcd":
		config["cluster-init"] = true
	default:
		var err error
		if s.database, err = database.Start(ctx, kind, filepath.Join(work, string(kind)+".log"), "127.0.0.1"); err != nil {
			return nil, err
		}
		files := map[string][]byte{"datastore-cafile": s.database.CA}
		if kind == database.Etcd {
			files["datastore-certfile"], files["datastore-keyfile"] = s.database.Cert, s.database.Key
		}
		for key, data := range files {
			path := filepath.Join(work, key)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return s, err
			}
			config[key] = path
		}
		config["datastore-endpoint"] = s.database.LocalEndpoint()
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		return s, err
	}
	file := filepath.Join(work, "config.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return s, err
	}
	return s, s.run(work, kube, "control", "--config", file)
}

// groupPSS is the proportional set size of the processes of a group, in MiB.
func groupPSS(group int) (float64, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	var kib int64
	for _, proc := range all {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			return 0, err
		}
		if of, err := unix.Getpgid(pid); err != nil || of != group {
			continue // it may have ended
		}
		data, err := os.ReadFile(filepath.Join(proc, "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(data)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
				n, err := strconv.ParseInt(fields[1], 10, 64)
				if err != nil {
					return 0, err
				}
				kib += n
			}
		}
	}
	if kib == 0 {
		return 0, fmt.Errorf("there is no process of group %d any more", group)
	}
	return float64(kib) / 1024, nil
}
