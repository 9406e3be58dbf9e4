// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// System is what the stages need of the running kernel and its programs.
type System interface {
	SetHostname(name string) error
	LoadModule(ctx context.Context, name string, args []string) error
	// CheckSudoers returns what visudo has against a file.
	CheckSudoers(ctx context.Context, path string) error
	// Chown changes the owner of an open file or folder.
	Chown(file *os.File, uid, gid int) error
	// RunScript runs an executable file, and what it leaves behind when it is
	// stopped is stopped too.
	RunScript(ctx context.Context, path string, output io.Writer) error
}

type kernel struct{}

func (kernel) SetHostname(name string) error { return unix.Sethostname([]byte(name)) }

func (kernel) LoadModule(ctx context.Context, name string, args []string) error {
	return run(exec.CommandContext(ctx, "/usr/sbin/modprobe", append([]string{"--", name}, args...)...))
}

func (kernel) CheckSudoers(ctx context.Context, path string) error {
	const visudo = "/usr/sbin/visudo"
	if _, err := os.Stat(visudo); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return run(exec.CommandContext(ctx, visudo, "--check", "--quiet", "--file="+path))
}

func (kernel) Chown(file *os.File, uid, gid int) error { return file.Chown(uid, gid) }

func (kernel) RunScript(ctx context.Context, path string, output io.Writer) error {
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A program in the background keeps the output open; it may go on, unheard.
	cmd.WaitDelay = scriptAftermath
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// scriptAftermath is how long the output of a script that has ended is waited
// for.
const scriptAftermath = 2 * time.Second

// run runs a program, whose own words say best what went wrong.
func run(cmd *exec.Cmd) error {
	output, err := cmd.CombinedOutput()
	if text := bytes.TrimSpace(output); err != nil && len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}
