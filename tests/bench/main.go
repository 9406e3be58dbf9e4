// SPDX-License-Identifier: Apache-2.0

// Bench measures the image and the machines booted from it: sizes, the seconds to each stage of the boot, and what idle
// machines use.
//
// It is run from the top of the source tree, prints a table and writes the same as JSON. Times depend on the machine and
// on what else it does; numbers of two runs compare only if they are from the same machine, which is why the JSON says
// how guests were run.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-os/skerry/tests/cluster"
	"github.com/skerry-os/skerry/tests/vm"
	"github.com/skerry-os/skerry/tests/vm/ethernet"
)

// Report is what build/bench.json holds.
type Report struct {
	Commit      string    `json:"commit"`
	Date        time.Time `json:"date"`
	Image       string    `json:"image"`
	Accelerator string    `json:"accelerator"` // "kvm" or "tcg"
	Size        Size      `json:"size"`
	Validate    Validate  `json:"validate"`
	// Join is how many seconds agents took from the start of their node process to Ready, natively, one after the other.
	Join      []float64       `json:"join"`
	Machines  []MachineReport `json:"machines"`
	Lifecycle Lifecycle       `json:"lifecycle"`
	// Stores are upstream's and ours, natively.
	Stores []StoreReport `json:"stores"`
	Growth []Growth      `json:"growth"`
	// Ratios compare our server with the rival's: below 1, ours needs less.
	Ratios []Ratio `json:"ratios"`
}

// MachineReport is one machine's numbers.
type MachineReport struct {
	Name   string  `json:"name"`
	Role   string  `json:"role"` // "server", "agent", or "upstream" for the rival
	CPUs   int     `json:"cpus"`
	Memory int     `json:"memory_mib"`
	Boot   []Stage `json:"boot"`
	Idle   Idle    `json:"idle"`
}

func main() {
	cluster.Helper()
	if len(os.Args) == storesInsideArgs && os.Args[1] == storesInside {
		inNamespace()
		return
	}
	var b bench
	flag.StringVar(&b.image, "image", "", "raw image to measure (default: the newest in --build)")
	flag.StringVar(&b.build, "build", "build", "folder with the image and its manifest, for disks and for the report")
	flag.StringVar(&b.examples, "examples", "examples", "folder with server.yaml and agent.yaml")
	flag.StringVar(&b.rivals, "rivals", filepath.Join("build", "rival"), "folder with upstream's programs and etcd")
	flag.StringVar(&b.skerry, "skerry", filepath.Join("build", "tree", "usr", "bin", "skerry"), "the program whose config validate is measured")
	flag.StringVar(&b.manifests, "manifests", filepath.Join("overlay", "usr", "share", "skerry", "manifests"), "folder with the add-ons, which the rival gets too")
	flag.StringVar(&b.out, "out", filepath.Join("build", "bench.json"), "where to write the report")
	flag.DurationVar(&b.settle, "settle", 2*time.Minute, "how long a machine is left alone before it is measured, and while its CPU time is")
	flag.StringVar(&b.commit, "commit", "unknown", "what the tree is at, for the report")
	flag.BoolVar(&b.joinOnly, "join-only", false, "measure only how long agents take to join, and write no report")
	flag.BoolVar(&b.storesOnly, "stores-only", false, "measure only the datastores, and write no report")
	flag.BoolVar(&b.lifecycleOnly, "lifecycle-only", false, "measure only an installation and an upgrade, and write no report")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

type bench struct {
	image, build, examples, out string
	commit                      string
	rivals, manifests, skerry   string
	settle                      time.Duration
	joinOnly, storesOnly        bool
	lifecycleOnly               bool
}

// Memory of the measured machines in MiB: what a small machine has.
const (
	serverMemory = 2048
	agentMemory  = 1024
	cpus         = 2
)

const serverName = "server-1"

func (b *bench) run(ctx context.Context) error {
	var err error
	if b.image == "" {
		if b.image, err = vm.FindImage(b.build); err != nil {
			return err
		}
	}
	report := Report{Commit: b.commit, Date: time.Now().UTC().Truncate(time.Second), Image: filepath.Base(b.image), Accelerator: vm.Accelerator()}
	if b.joinOnly {
		if report.Join, err = b.joins(ctx); err != nil {
			return err
		}
		return aligned(os.Stdout, report.printJoin)
	}
	if b.storesOnly {
		if err := report.measureStores(ctx, b); err != nil {
			return err
		}
		return aligned(os.Stdout, report.printStores)
	}
	if b.lifecycleOnly {
		if report.Lifecycle, err = b.lifecycle(ctx); err != nil {
			return err
		}
		return aligned(os.Stdout, report.Lifecycle.print)
	}
	say("measure the size of %s", b.image)
	if report.Size, err = measureSize(b.image, filepath.Join(b.build, "manifest.json")); err != nil {
		return err
	}
	say("measure how long skerry config validate takes")
	if report.Validate, err = measureValidate(ctx, b.skerry, b.build); err != nil {
		return err
	}
	if report.Join, err = b.joins(ctx); err != nil {
		return err
	}
	if err := report.measureStores(ctx, b); err != nil {
		return err
	}
	if report.Machines, err = b.machines(ctx); err != nil {
		return err
	}
	if report.Lifecycle, err = b.lifecycle(ctx); err != nil {
		return err
	}
	rival, err := b.rival(ctx)
	if err != nil {
		return err
	}
	report.Ratios = compare(report.Machines[0], rival)
	report.Machines = append(report.Machines, rival)
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	if err := aligned(os.Stdout, report.print); err != nil {
		return err
	}
	fmt.Printf("\nwritten to %s\n", b.out)
	return nil
}

// machines boots a server, measures it alone, and then an agent beside it.
func (b *bench) machines(ctx context.Context) ([]MachineReport, error) {
	lab, err := b.lab(ctx, "bench")
	if err != nil {
		return nil, err
	}
	defer lab.Close()
	reports, err := b.measureOurs(ctx, lab)
	return reports, b.explain(ctx, lab, err)
}

func (b *bench) measureOurs(ctx context.Context, lab *vm.Lab) ([]MachineReport, error) {
	userData, err := b.config(lab, "server.yaml", vm.Overrides{})
	if err != nil {
		return nil, err
	}
	server, cluster, atServer, err := b.server(ctx, lab, "server", vm.MachineConfig{UserData: userData}, nil)
	if err != nil {
		return nil, err
	}
	stages, err := bootStages(ctx, server)
	if err != nil {
		return nil, err
	}
	firstPod, err := firstPodRunning(ctx, server, cluster, serverName)
	if err != nil {
		return nil, err
	}
	atServer.Boot = append(append(stages, atServer.Boot...), Stage{"first pod Running", firstPod.Seconds()})
	if err := b.idle(ctx, server, cluster, &atServer); err != nil {
		return nil, err
	}

	token, err := server.JoinToken(ctx)
	if err != nil {
		return nil, err
	}
	const agentName = "agent-1"
	userData, err = b.config(lab, "agent.yaml", vm.Overrides{
		Hostname: agentName, Cluster: map[string]string{"server": server.URL(), "token": token},
	})
	if err != nil {
		return nil, err
	}
	say("boot %s", agentName)
	agent, err := lab.Boot(ctx, vm.MachineConfig{Name: agentName, UserData: userData, CPUs: cpus, Memory: agentMemory})
	if err != nil {
		return nil, err
	}
	if err := cluster.WaitReady(ctx, agentName); err != nil {
		return nil, err
	}
	atAgent := MachineReport{Name: agentName, Role: "agent", CPUs: cpus, Memory: agentMemory}
	if atAgent.Boot, err = bootStages(ctx, agent); err != nil {
		return nil, err
	}
	if atAgent.Idle, err = measureIdle(ctx, agent, b.settle); err != nil {
		return nil, err
	}
	return []MachineReport{atServer, atAgent}, nil
}

// rival boots the same machine with upstream's Kubernetes, and measures it in the same way.
func (b *bench) rival(ctx context.Context) (MachineReport, error) {
	lab, err := b.lab(ctx, "bench-rival")
	if err != nil {
		return MachineReport{}, err
	}
	defer lab.Close()
	report, err := b.measureRival(ctx, lab)
	return report, b.explain(ctx, lab, err)
}

func (b *bench) measureRival(ctx context.Context, lab *vm.Lab) (MachineReport, error) {
	address := net.IP(ethernet.Address(1).AsSlice())
	disk, kubeconfig, err := rivalDisk(ctx, b.rivals, filepath.Join(b.build, "rival-disk"), address)
	if err != nil {
		return MachineReport{}, err
	}
	userData, err := rivalConfig(lab.AuthorizedKey(), kubeconfig)
	if err != nil {
		return MachineReport{}, err
	}
	machine, cluster, report, err := b.server(ctx, lab, "upstream", vm.MachineConfig{
		UserData: userData, Disks: []string{disk}, Credentials: rivalUnits(address),
	}, rivalNetwork)
	if err != nil {
		return report, err
	}
	if _, err := machine.Run(ctx, "sudo skerry images import"); err != nil {
		return report, err
	}
	addons, err := rivalAddons(b.manifests)
	if err != nil {
		return report, err
	}
	if err := machine.Apply(ctx, addons); err != nil {
		return report, err
	}
	if _, err := cluster.WaitPods(ctx, "kube-system", "", addonPods); err != nil {
		return report, err
	}
	// What is ours on this machine is not the rival's to answer for.
	if _, err := machine.Run(ctx, "sudo systemctl stop skerry.service"); err != nil {
		return report, err
	}
	return report, b.idle(ctx, machine, cluster, &report)
}

// server boots a server, and measures as one looks at it from outside. What it needs from outside to become Ready is done
// beside, if there is something.
func (b *bench) server(
	ctx context.Context, lab *vm.Lab, role string, config vm.MachineConfig, beside func(context.Context, *vm.Machine) error,
) (*vm.Machine, *vm.Cluster, MachineReport, error) {
	config.Name, config.CPUs, config.Memory = serverName, cpus, serverMemory
	report := MachineReport{Name: serverName, Role: role, CPUs: cpus, Memory: serverMemory}
	say("boot %s as %s", serverName, role)
	machine, err := lab.Boot(ctx, config)
	if err != nil {
		return nil, nil, report, err
	}
	var cluster *vm.Cluster
	group, ctx := errgroup.WithContext(ctx)
	if beside != nil {
		group.Go(func() error { return beside(ctx, machine) })
	}
	group.Go(func() (err error) {
		cluster, err = machine.WaitServer(ctx)
		report.Boot = []Stage{{seenReady, time.Since(machine.Console().PowerOn()).Seconds()}}
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, nil, report, err
	}
	say("%s is Ready after %.1f s; wait for its add-ons", role, report.Boot[0].Seconds)
	return machine, cluster, report, nil
}

// addonPods is how many pods the add-ons have.
const addonPods = 3

// idle waits until the add-ons run, and measures a server that has nothing to do.
func (b *bench) idle(ctx context.Context, m *vm.Machine, c *vm.Cluster, report *MachineReport) error {
	if _, err := c.WaitPods(ctx, "kube-system", "", addonPods); err != nil {
		return err
	}
	report.Boot = append(report.Boot, Stage{"all add-ons Running", time.Since(m.Console().PowerOn()).Seconds()})
	var err error
	if report.Idle, err = measureIdle(ctx, m, b.settle); err != nil {
		return err
	}
	say("%s uses %.0f MiB and %.1f %% of its processors", report.Role, float64(report.Idle.MemUsed)/1024, report.Idle.CPUPercent)
	return nil
}

// explain keeps what a failure is understood from, and says where.
func (b *bench) explain(ctx context.Context, lab *vm.Lab, failure error) error {
	if failure == nil || ctx.Err() != nil {
		return failure
	}
	dir := filepath.Join(b.build, "failures", "bench")
	if err := lab.Collect(ctx, dir, failure); err != nil {
		say("the evidence is incomplete: %v", err)
	}
	return fmt.Errorf("%w\nconsoles, journals and a description of the cluster are in %s", failure, dir)
}

func (b *bench) lab(ctx context.Context, name string) (*vm.Lab, error) {
	return vm.NewLab(ctx, vm.LabConfig{
		Dir: filepath.Join(b.build, name), Image: b.image, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

func (b *bench) config(lab *vm.Lab, example string, o vm.Overrides) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(b.examples, example))
	if err != nil {
		return nil, err
	}
	o.AuthorizedKey = lab.AuthorizedKey()
	return vm.Override(data, o)
}

func say(format string, args ...any) { fmt.Printf(format+" ...\n", args...) }
