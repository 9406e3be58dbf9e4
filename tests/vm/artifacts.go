// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// evidenceTimeout bounds each question to a machine that may be in any state.
const evidenceTimeout = 60 * time.Second

// evidence is what a machine is asked for after a failure: file name and command.
var evidence = []struct{ file, command string }{
	{"journal.txt", "sudo journalctl -b --no-pager -o short-monotonic"},
	{"status.txt", "sudo skerry status; systemctl --failed --no-pager; systemctl list-jobs --no-pager"},
	{"network.txt", "ip -s address; ip route; cat /etc/resolv.conf"},
	{"disk.txt", "df -h; findmnt; lsblk -o NAME,SIZE,PARTLABEL,FSTYPE,MOUNTPOINTS"},
	{"processes.txt", "ps -eo pid,ppid,rss,stat,etime,args --sort=-rss; free -m"},
	{"containers.txt", "sudo ctr --address /run/k3s/containerd/containerd.sock -n k8s.io images ls; sudo ctr --address /run/k3s/containerd/containerd.sock -n k8s.io containers ls"},
}

// clusterEvidence is asked for on each machine that has an admin kubeconfig.
var clusterEvidence = []struct{ file, command string }{
	{"kubectl-get-all.txt", "sudo kubectl get nodes,all,pv,pvc -A -o wide"},
	{"kubectl-describe-nodes.txt", "sudo kubectl describe nodes"},
	{"kubectl-describe-pods.txt", "sudo kubectl describe pods -A"},
	{"kubectl-events.txt", "sudo kubectl get events -A --sort-by=.lastTimestamp"},
}

// Collect leaves what a failure is understood from in dir: the failure itself, and for each machine its consoles, its
// journal and what kubectl says. It does what it can; what it could not do is in the error.
func (l *Lab) Collect(ctx context.Context, dir string, failure error) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("collect evidence: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("collect evidence: %w", err)
	}
	errs := []error{os.WriteFile(filepath.Join(dir, "failure.txt"), []byte(failure.Error()+"\n"), 0o644)}
	for _, m := range l.Machines() {
		errs = append(errs, m.collect(ctx, filepath.Join(dir, m.cfg.Name)))
	}
	return errors.Join(errs...)
}

func (m *Machine) collect(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	logs, err := filepath.Glob(filepath.Join(m.dir, "*.log"))
	errs = append(errs, err)
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o644)
		}
		errs = append(errs, err)
	}
	if !m.Running() {
		return errors.Join(errs...)
	}
	ask := func(file, command string) error {
		ctx, cancel := context.WithTimeout(ctx, Scaled(evidenceTimeout))
		defer cancel()
		out, err := m.Run(ctx, command)
		if out != "" {
			errs = append(errs, os.WriteFile(filepath.Join(dir, file), []byte(out), 0o644))
		}
		return err
	}
	if err := ask("uptime.txt", "uptime; cat /proc/cmdline"); err != nil {
		// A machine that cannot be logged in to would cost the same wait once more for each of the other questions.
		return errors.Join(append(errs, fmt.Errorf("%s gives no evidence but its console: %w", m.cfg.Name, err))...)
	}
	for _, e := range evidence {
		ask(e.file, e.command) //nolint:errcheck // part of a command may fail on a machine that is not well
	}
	if ask("kubeconfig-is-there.txt", "sudo test -s "+kubeconfigPath+" && echo yes") == nil {
		for _, e := range clusterEvidence {
			ask(e.file, e.command) //nolint:errcheck // as above
		}
	}
	return errors.Join(errs...)
}
