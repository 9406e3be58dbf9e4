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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

const (
	// refusalTimeout is from power-on of an agent to its first line about why it cannot join.
	refusalTimeout = vm.ReadyTimeout
	// repeatTimeout is from that line to its repetition, which comes about a minute later.
	repeatTimeout = 3 * time.Minute
	// fastest is the pace of attempts above which a machine spins.
	fastest = 4 * time.Second
)

// attempts is how an agent's repeated line ends: how often it has tried.
var attempts = regexp.MustCompile(`\(attempt (\d+)\)`)

// saysWhy waits until an agent says on its console why it cannot join, and checks that the journal has the line too.
func saysWhy(ctx context.Context, t *T, agent *vm.Machine, line *regexp.Regexp) (first vm.Line, err error) {
	err = t.Steps(
		step{"the agent's console says why", func() (err error) {
			first, err = agent.WaitConsole(ctx, refusalTimeout, line)
			if err == nil {
				t.Note("%.1fs after power-on: %s", first.At.Seconds(), first.Text)
			}
			return err
		}},
		step{"its journal says so too", func() error {
			if err := agent.WaitSSH(ctx); err != nil {
				return err
			}
			out, err := agent.Run(ctx, "sudo journalctl -b --no-pager -o cat")
			if err == nil && !line.MatchString(out) {
				err = fmt.Errorf("no line of the journal matches %q", line)
			}
			return err
		}},
	)
	return first, err
}

// refused is saysWhy, and checks that the agent tries again, at a pace that hurts nobody, which takes a minute and a half.
func refused(ctx context.Context, t *T, agent *vm.Machine, line *regexp.Regexp) error {
	first, err := saysWhy(ctx, t, agent, line)
	if err != nil {
		return err
	}
	return t.Step("it tries again, without spinning", func() error {
		again := regexp.MustCompile(line.String() + `.*` + attempts.String())
		second, err := agent.WaitConsole(ctx, repeatTimeout, again)
		if err != nil {
			return err
		}
		t.Note("%.1fs after power-on: %s", second.At.Seconds(), second.Text)
		n, err := strconv.Atoi(attempts.FindStringSubmatch(second.Text)[1])
		if err != nil {
			return err
		}
		if most := 1 + int((second.At-first.At)/fastest); n < 2 || n > most {
			return fmt.Errorf("%d attempts in %s, want 2 to %d", n, second.At-first.At, most)
		}
		restarts, err := agent.Run(ctx, "systemctl show --value --property=NRestarts skerry-node.service skerry.service")
		if err == nil && strings.Trim(restarts, "0 \n") != "" {
			err = fmt.Errorf("its units were restarted, %q times", restarts)
		}
		return err
	})
}

// ledger is what a refused agent must not change on the server.
type ledger struct {
	nodes     string
	passwords string
}

func ledgerOf(ctx context.Context, c *vm.Cluster) (ledger, error) {
	var l ledger
	var err error
	if l.nodes, err = nodesOf(ctx, c); err != nil {
		return l, err
	}
	secrets, err := c.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	if err != nil {
		return l, err
	}
	var all []string
	for i := range secrets.Items {
		if s := &secrets.Items[i]; strings.HasSuffix(s.Name, passwordSecret("")) {
			all = append(all, describeSecret(s)+" version "+s.ResourceVersion)
		}
	}
	l.passwords = strings.Join(all, "\n")
	return l, nil
}

func (l ledger) same(now ledger) error {
	var errs []error
	if l.nodes != now.nodes {
		errs = append(errs, fmt.Errorf("the nodes were %q and are %q", l.nodes, now.nodes))
	}
	if l.passwords != now.passwords {
		errs = append(errs, fmt.Errorf("the node password Secrets were %q and are %q", l.passwords, now.passwords))
	}
	return errors.Join(errs...)
}

// refusedAndUnchanged is refused, with the server's ledger compared.
func refusedAndUnchanged(ctx context.Context, t *T, machine, hostname string, cluster map[string]string, line *regexp.Regexp) error {
	_, api, err := t.Server(ctx)
	if err != nil {
		return err
	}
	before, err := ledgerOf(ctx, api)
	if err != nil {
		return err
	}
	userData, err := t.agentConfig(ctx, hostname, cluster)
	if err != nil {
		return err
	}
	agent, err := t.lab.Boot(ctx, vm.MachineConfig{Name: machine, UserData: userData, Memory: agentMemory})
	if err != nil {
		return err
	}
	if err := refused(ctx, t, agent, line); err != nil {
		return err
	}
	agent.PowerCut()
	return t.Step("the server is as before", func() error {
		now, err := ledgerOf(ctx, api)
		if err != nil {
			return err
		}
		return before.same(now)
	})
}
