// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// joining is how many agents join.
const joining = 3

// joins measures how long agents take to join, natively: on the kernel and the processors of this machine.
func (b *bench) joins(ctx context.Context) ([]float64, error) {
	lab, err := vm.NewLab(ctx, vm.LabConfig{
		Dir: filepath.Join(b.build, "bench-native"), Image: b.image, Native: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return nil, err
	}
	defer lab.Close()
	times, err := b.measureJoins(ctx, lab)
	return times, b.explain(ctx, lab, err)
}

func (b *bench) measureJoins(ctx context.Context, lab *vm.Lab) ([]float64, error) {
	say("measure how long agents take to join, natively")
	userData, err := b.config(lab, "server.yaml", vm.Overrides{})
	if err != nil {
		return nil, err
	}
	server, err := lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData})
	if err != nil {
		return nil, err
	}
	cluster, err := server.WaitServer(ctx)
	if err != nil {
		return nil, err
	}
	token, err := server.JoinToken(ctx)
	if err != nil {
		return nil, err
	}
	var times []float64
	for n := range joining {
		name := fmt.Sprintf("agent-%d", n+1)
		userData, err := b.config(lab, "agent.yaml", vm.Overrides{
			Hostname: name, Cluster: map[string]string{"server": server.URL(), "token": token},
		})
		if err != nil {
			return nil, err
		}
		agent, err := lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData})
		if err != nil {
			return nil, err
		}
		if err := cluster.WaitReady(ctx, name); err != nil {
			return nil, err
		}
		took, err := joinTime(ctx, agent)
		if err != nil {
			return nil, err
		}
		times = append(times, took)
	}
	return times, nil
}

// joinTime is from the start of an agent's node process until that has told systemd that the node is Ready, in seconds.
func joinTime(ctx context.Context, agent *vm.Machine) (float64, error) {
	out, err := agent.Run(ctx, "systemctl show skerry-node.service -p NRestarts -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic")
	if err != nil {
		return 0, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(out) {
		key, text, _ := strings.Cut(strings.TrimSpace(line), "=")
		if values[key], err = strconv.ParseFloat(text, 64); err != nil {
			return 0, fmt.Errorf("%s of the node unit: %w", key, err)
		}
	}
	if values["NRestarts"] > 0 {
		return 0, fmt.Errorf("the node process of %s was started again", agent.Name())
	}
	return (values["ActiveEnterTimestampMonotonic"] - values["ExecMainStartTimestampMonotonic"]) / 1e6, nil
}
