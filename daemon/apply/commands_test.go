// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/config"
)

func TestBootCommands(t *testing.T) {
	const text = "bootcmd: [echo hunter2, [false-program], [ls, -l]]\nskerry: {environment: {A: b}}\n"
	m, system := newMachine(t)
	var log strings.Builder
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	system.refuse["false-program"] = errors.New("exit status 1")
	mustApply(t, m, text)
	mustApply(t, m, text) // a daemon that was started again
	want := []string{"/bin/sh -c echo hunter2", "false-program", "ls -l"}
	if !slices.Equal(system.executed, want) {
		t.Errorf("ran %q", system.executed)
	}
	if !slices.Equal(system.commanded, []string{"INSTANCE_ID=i-1", "A=b"}) {
		t.Errorf("environment %q", system.commanded)
	}
	if !strings.Contains(log.String(), "bootcmd[1] failed; the boot goes on") {
		t.Errorf("the log says\n%s", log.String())
	}
	reboot(t, m)
	mustApply(t, m, text)
	if len(system.executed) != 6 {
		t.Errorf("after a reboot, %q ran", system.executed[3:])
	}
}

// interrupter ends the daemon while a command runs.
type interrupter struct {
	*fakeSystem
	at     string
	cancel context.CancelFunc
}

func (i *interrupter) Execute(ctx context.Context, command, environment []string, line func(string)) error {
	err := i.fakeSystem.Execute(ctx, command, environment, line)
	if strings.Join(command, " ") == i.at {
		i.cancel()
		return ctx.Err()
	}
	return err
}

func TestRunCommands(t *testing.T) {
	const text = "runcmd: [[one], [reboot], [three]]\n"
	run := func(m *Machine, loaded *config.Loaded, ctx context.Context) error { return runCommands(ctx, m, loaded) }
	m, system := newMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	m.System = &interrupter{system, "reboot", cancel}
	if err := run(m, parse(t, text), ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	m.System = system
	reboot(t, m)
	for range 2 {
		if err := run(m, parse(t, text), t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"one", "reboot", "three"}; !slices.Equal(system.executed, want) {
		t.Errorf("ran %q: each command is begun once", system.executed)
	}
	if err := run(m, parse(t, "runcmd: [[one], [reboot], [three], [four]]\n"), t.Context()); err != nil || len(system.executed) != 3 {
		t.Errorf("a longer list ran in the same instance: %q, %v", system.executed, err)
	}
	loaded := parse(t, text)
	loaded.Document.InstanceID = "../../etc/x"
	if err := run(m, loaded, t.Context()); err != nil || len(system.executed) != 6 {
		t.Errorf("another instance ran %q, %v", system.executed[3:], err)
	}
	loaded.Document.InstanceID = "" // the machine-id
	if err := run(m, loaded, t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(m.path(instances))
	if err != nil || len(entries) != 3 {
		t.Errorf("instances %v, %v", entries, err)
	}
	checkFile(t, m, "state/instance/0123456789abcdef0123456789abcdef/runcmd", "done\n")
}

func TestFileName(t *testing.T) {
	for text, want := range map[string]string{
		"i-1": "i-1", "iid-datasource/none": "iid-datasource%2Fnone", "disk_setup /dev/vdb": "disk_setup%20%2Fdev%2Fvdb",
		"..": "", strings.Repeat("x", 200): "", strings.Repeat("/", 50): "",
	} {
		got := fileName(text)
		if want == "" && len(got) != 32 || want != "" && got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestExecute runs real programs: what they print is passed on line by line,
// and what they leave in the background holds nobody up.
func TestExecute(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	keep := func(line string) { mu.Lock(); defer mu.Unlock(); lines = append(lines, line) }
	dir := t.TempDir()
	stop := filepath.Join(dir, "stop")
	started := time.Now()
	err := kernel{}.Execute(t.Context(), []string{"/bin/sh", "-c",
		"echo one; echo $A >&2; pwd; (while test -d " + dir + " && ! test -e " + stop + "; do sleep 0.1; done) & exit 3"}, []string{"A=two"}, keep)
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("got %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(lines, []string{"one", "two", "/"}) {
		t.Errorf("lines %q", lines)
	}
}

func TestRun(t *testing.T) {
	output, err := kernel{}.Run(t.Context(), "/bin/sh", "-c", "echo out")
	if err != nil || output != "out\n" {
		t.Errorf("got %q, %v", output, err)
	}
	_, err = kernel{}.Run(t.Context(), "/bin/sh", "-c", "echo why >&2; exit 2")
	var exit interface{ ExitCode() int }
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %v", err)
	}
}
