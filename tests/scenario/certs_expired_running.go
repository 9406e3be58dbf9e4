// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var certsExpiredRunning = Scenario{
	Name:   "certs-expired-running",
	Suite:  SuiteAll,
	Shows:  "certificates are renewed while server and agent run, in time and when the clock jumps past their end; nothing is restarted, and a watch goes on",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		if t.native {
			return errors.New("a native machine has no clock of its own: this would set that of the machine the tests run on")
		}
		// Two machines are as much as an emulation on two processors can bear, when all is asked for anew at once.
		t.settings = map[string]string{"disable": "metrics-server"}
		server, _, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		w, pods, err := webOnBoth(ctx, t, "certs-expired-running")
		if err != nil {
			return err
		}
		machines := []*vm.Machine{server, agent}
		running := map[*vm.Machine]string{}
		var containers string
		var seen *configMapWatch
		if err := t.Step("a watch begins", func() error {
			for _, m := range machines {
				if running[m], err = processes(ctx, m); err != nil {
					return err
				}
			}
			if containers, err = containersByKubectl(ctx, server, w.namespace); err != nil {
				return err
			}
			seen, err = newWatch(ctx, server, w.namespace)
			return err
		}); err != nil {
			return err
		}
		// From here on the certificates are of a time to come: the API is asked from the machine itself.
		var ahead time.Duration
		goesOn := func(to time.Duration) []step {
			return []step{
				{fmt.Sprintf("it is %d days later: the certificates are renewed", int(to/day)), func() error {
					if err := moveClocks(ctx, machines, to-ahead); err != nil {
						return err
					}
					ahead = to
					for _, m := range machines {
						if err := waitRenewed(ctx, m, func() time.Time { return time.Now().Add(to) }); err != nil {
							return err
						}
					}
					return nil
				}},
				{"the watch goes on", func() error { return seen.goesOn(ctx) }},
				{"nodes are Ready, and pods are reached", func() error {
					if err := readyByKubectl(ctx, server, serverName, agentName); err != nil {
						return err
					}
					for _, pod := range pods {
						if err := vm.Wait(ctx, "exec in "+pod, vm.ReadyTimeout, func(ctx context.Context) error {
							_, err := w.exec(ctx, pod, "true")
							return err
						}); err != nil {
							return err
						}
					}
					return w.fetch(ctx, pods[serverName], "http://web-agent/", pods[agentName])
				}},
				{"nothing was restarted", func() error {
					for _, m := range machines {
						if err := sameProcesses(ctx, m, running[m]); err != nil {
							return err
						}
					}
					now, err := containersByKubectl(ctx, server, w.namespace)
					if err == nil && now != containers {
						err = fmt.Errorf("the containers were %s and are %s", containers, now)
					}
					return err
				}},
			}
		}
		near := certificateLife - renewedBefore + day
		if err := t.Steps(goesOn(near)...); err != nil {
			return err
		}
		// As after a long sleep: nothing was renewed in time.
		return t.Steps(goesOn(near + certificateLife + day)...)
	},
}

// moveClocks sets the clocks of machines forward, at about the same time.
func moveClocks(ctx context.Context, machines []*vm.Machine, by time.Duration) error {
	for _, m := range machines {
		if _, err := m.Run(ctx, fmt.Sprintf("sudo date --set=@$(($(date +%%s) + %d)) >/dev/null", int64(by/time.Second))); err != nil {
			return err
		}
	}
	return nil
}

// readyByKubectl waits until nodes are Ready by a report of now, which is the server's: their conditions of before a jump
// of the clock say so, too.
func readyByKubectl(ctx context.Context, server *vm.Machine, nodes ...string) error {
	for _, name := range nodes {
		if err := vm.Wait(ctx, name+" to be Ready, and its lease to be new", vm.ReadyTimeout, func(ctx context.Context) error {
			out, err := server.Kubectl(ctx, "get", "node", name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
			if err != nil {
				return err
			}
			if out != "True" {
				return fmt.Errorf("its condition Ready is %q", out)
			}
			renewed, err := server.Kubectl(ctx, "-n", "kube-node-lease", "get", "lease", name, "-o", "jsonpath={.spec.renewTime}")
			if err != nil {
				return err
			}
			return isNew(ctx, server, renewed)
		}); err != nil {
			return err
		}
	}
	return nil
}

// isNew checks that a time of the API is no more than a minute before a machine's.
func isNew(ctx context.Context, m *vm.Machine, text string) error {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return err
	}
	out, err := m.Run(ctx, "date +%s")
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: date says %q", m.Name(), out)
	}
	if old := time.Unix(seconds, 0).Sub(at); old > vm.Scaled(time.Minute) {
		return fmt.Errorf("%s is %s ago", text, old.Round(time.Second))
	}
	return nil
}

var spaces = regexp.MustCompile(`\s+`)

// containersByKubectl says which containers the pods of a namespace have, and how often each was restarted.
func containersByKubectl(ctx context.Context, server *vm.Machine, namespace string) (string, error) {
	out, err := server.Kubectl(ctx, "-n", namespace, "get", "pods", "--sort-by=.metadata.name", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {end}`)
	return strings.TrimSpace(spaces.ReplaceAllString(out, " ")), err
}
