// SPDX-License-Identifier: Apache-2.0

// Run boots a cluster from the image in virtual machines, shows how it comes up, and keeps it until Ctrl-C.
//
// The server gets examples/server.yaml, each agent examples/agent.yaml with the server's address and token filled in,
// and all an ssh key. It is run from the top of the source tree; the disks are new each time and lie below build/run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/skerry-os/skerry/tests/vm"
)

func main() {
	var o options
	flag.IntVar(&o.agents, "agents", 0, "how many agents to boot beside the server")
	flag.StringVar(&o.image, "image", "", "raw image to boot (default: the newest in build)")
	flag.StringVar(&o.dir, "dir", filepath.Join("build", "run"), "folder for disks, consoles, the ssh key and the kubeconfig")
	flag.StringVar(&o.examples, "examples", "examples", "folder with server.yaml and agent.yaml")
	flag.IntVar(&o.memory, "memory", 0, "memory of the server in MiB (default 2560)")
	flag.BoolVar(&o.once, "once", false, "end when the cluster is up, for scripts")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, o)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		fmt.Println("\nthe machines are off")
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

type options struct {
	agents   int
	image    string
	dir      string
	examples string
	memory   int
	once     bool
}

func run(ctx context.Context, o options) error {
	var err error
	if o.image == "" {
		if o.image, err = vm.FindImage("build"); err != nil {
			return err
		}
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	p := newProgress(os.Stdout)
	lab, err := vm.NewLab(ctx, vm.LabConfig{
		Dir: o.dir, Image: o.image, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Follow: p.console,
	})
	if err != nil {
		return err
	}
	defer lab.Close()
	c := &cluster{options: o, lab: lab, progress: p}
	if vm.Accelerator() == "tcg" {
		p.say("no hardware virtualization here: the machines are emulated, which takes minutes instead of seconds")
	}
	if err := c.boot(ctx); err != nil {
		return c.explain(ctx, err)
	}
	if err := c.present(ctx); err != nil {
		return c.explain(ctx, err)
	}
	if o.once {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}
