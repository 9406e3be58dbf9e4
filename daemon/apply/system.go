// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

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

// run runs a program, whose own words say best what went wrong.
func run(cmd *exec.Cmd) error {
	output, err := cmd.CombinedOutput()
	if text := bytes.TrimSpace(output); err != nil && len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}
