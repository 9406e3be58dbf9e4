// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
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
	// Run runs a program of the image, and returns what it printed. Secrets
	// don't belong in its arguments.
	Run(ctx context.Context, program string, args ...string) (output string, err error)
	// Execute runs a command of the user's in an environment, and passes each
	// line it prints on.
	Execute(ctx context.Context, command, environment []string, line func(string)) error
	// Announce writes to the console, and nowhere else.
	Announce(text string) error
	// Now and SetClock are the time of day, Sleep waits.
	Now() time.Time
	SetClock(t time.Time) error
	Sleep(ctx context.Context, d time.Duration) error
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

func (kernel) Run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", program, err)
		if text := bytes.TrimSpace(stderr.Bytes()); len(text) > 0 {
			err = fmt.Errorf("%w: %s", err, text)
		}
	}
	return string(output), err
}

// killWait is how long a command may take to end once it was told to.
const killWait = 10 * time.Second

func (kernel) Execute(ctx context.Context, command, environment []string, line func(string)) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), environment...), "/"
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = killWait
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Start()
	if err := errors.Join(err, writer.Close()); err != nil {
		return errors.Join(err, reader.Close())
	}
	// What the command leaves running in the background holds the pipe open, and
	// goes on being read. The command's own end is what counts.
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer reader.Close()
		readLines(reader, line)
	}()
	err = cmd.Wait()
	select {
	case <-read:
	case <-time.After(readWait):
	}
	return err
}

// readWait bounds the wait for the last lines of a command that has ended.
const readWait = time.Second

// longestLine bounds what is kept of one line, in bytes.
const longestLine = 4096

func readLines(reader io.Reader, line func(string)) {
	buffered := bufio.NewReaderSize(reader, longestLine)
	for {
		text, _, err := buffered.ReadLine()
		if err != nil {
			return // the command has ended, or its pipe was closed
		}
		line(string(text))
	}
}

func (kernel) Announce(text string) error {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	_, err = console.WriteString(text)
	return errors.Join(err, console.Close())
}

func (kernel) Now() time.Time { return time.Now() }

func (kernel) SetClock(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}

func (kernel) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// run runs a program, whose own words say best what went wrong.
func run(cmd *exec.Cmd) error {
	output, err := cmd.CombinedOutput()
	if text := bytes.TrimSpace(output); err != nil && len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}
