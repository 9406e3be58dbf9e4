// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// Stage is a point of the boot that was reached.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"` // since power-on
}

// managerStages are systemd's own timestamps, in microseconds since the kernel began.
var managerStages = []struct{ property, name string }{
	{"InitRDTimestampMonotonic", "initrd"},
	{"UserspaceTimestampMonotonic", "userspace"},
}

// journalStages are the first lines of the journal that match.
var journalStages = []struct {
	name string
	re   *regexp.Regexp
}{
	{"config applied", regexp.MustCompile(`phase early ended`)},
	{"network up", regexp.MustCompile(`phase network ended`)},
	{"API ready", regexp.MustCompile(`the Kubernetes API is ready`)},
	{"node Ready", regexp.MustCompile(`node \S+ \(\S+\) is Ready as`)},
}

// bootStages asks a machine that is up when it was how far. Its own clock, which counts from the start of the kernel, is
// set against ours, which counts from power-on.
func bootStages(ctx context.Context, m *vm.Machine) ([]Stage, error) {
	var out string
	var kernel float64 // seconds from power-on to the start of the kernel
	err := vm.Wait(ctx, m.Name()+" to say that it is Ready", vm.ReadyTimeout, func(ctx context.Context) (err error) {
		out, err = m.Run(ctx, "sudo journalctl -b -o short-monotonic --no-pager -t skerry")
		if err == nil && !journalStages[len(journalStages)-1].re.MatchString(out) {
			err = errors.New("its journal does not say so")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	// Twice, for the first call may have had to log in.
	for range 2 {
		asked := time.Since(m.Console().PowerOn())
		uptime, err := m.Run(ctx, "cut -d' ' -f1 /proc/uptime")
		if err != nil {
			return nil, err
		}
		answered := time.Since(m.Console().PowerOn())
		up, err := strconv.ParseFloat(strings.TrimSpace(uptime), 64)
		if err != nil {
			return nil, fmt.Errorf("uptime of %s: %w", m.Name(), err)
		}
		kernel = (asked+answered).Seconds()/2 - up
	}
	stages := []Stage{{"kernel", kernel}}
	for _, s := range managerStages {
		text, err := m.Run(ctx, "systemctl show --value --property="+s.property)
		if err != nil {
			return nil, err
		}
		us, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", s.property, m.Name(), err)
		}
		stages = append(stages, Stage{s.name, kernel + us/1e6})
	}
	return append(stages, readJournal(out, kernel)...), nil
}

var monotonic = regexp.MustCompile(`^\[\s*(\d+\.\d+)\]`)

// readJournal finds the stages in `journalctl -o short-monotonic`. A stage that a role does not have is left out.
func readJournal(journal string, kernel float64) []Stage {
	var stages []Stage
	for _, s := range journalStages {
		for line := range strings.Lines(journal) {
			at := monotonic.FindStringSubmatch(line)
			if at == nil || !s.re.MatchString(line) {
				continue
			}
			if seconds, err := strconv.ParseFloat(at[1], 64); err == nil {
				stages = append(stages, Stage{s.name, kernel + seconds})
			}
			break
		}
	}
	return stages
}

// firstPodRunning waits for the first pod with a network of its own to run on a node, and returns the time since
// power-on.
func firstPodRunning(ctx context.Context, m *vm.Machine, c *vm.Cluster, node string) (time.Duration, error) {
	var at time.Duration
	err := vm.Wait(ctx, "the first pod Running on "+node, vm.PodTimeout, func(ctx context.Context) error {
		pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			if p.Status.Phase == corev1.PodRunning && !p.Spec.HostNetwork {
				at = time.Since(m.Console().PowerOn())
				return nil
			}
		}
		return fmt.Errorf("none of %d pods is Running", len(pods.Items))
	})
	return at, err
}
