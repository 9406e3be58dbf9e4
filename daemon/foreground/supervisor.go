// SPDX-License-Identifier: Apache-2.0

package foreground

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor has the processes that were started.
type supervisor struct {
	log    *slog.Logger
	runDir string
	ended  chan ending // with room for all: nobody may listen any more

	mu      sync.Mutex
	running []*process // in the order of their start
}

// process is a child that was started.
type process struct {
	child
	cmd  *exec.Cmd
	done chan struct{}
	ears *net.UnixConn
}

// ending is that a process has ended.
type ending struct {
	child child
	err   error
}

// failure is nil where the end was to be.
func (e ending) failure() error {
	switch {
	case e.child.once:
		return nil
	case e.err == nil:
		return errors.New(e.child.name + " ended without being asked to")
	}
	return fmt.Errorf("%s ended: %w", e.child.name, e.err)
}

// start starts a child. What it tells systemd goes to told.
func (s *supervisor) start(c child, told func(state string)) error {
	p := &process{child: c, done: make(chan struct{})}
	p.cmd = exec.Command(c.argv[0], c.argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = os.Stdout, os.Stderr
	p.cmd.Env = os.Environ()
	// Ctrl-C is for this process, which ends the others in their order; and they
	// must not outlive it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if told != nil {
		socket := filepath.Join(s.runDir, "notify-"+c.name+".sock")
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		ears, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			return fmt.Errorf("listen to %s: %w", c.name, err)
		}
		p.ears = ears
		p.cmd.Env = append(p.cmd.Env, "NOTIFY_SOCKET="+socket)
		go listen(ears, told)
	}
	started := make(chan error, 1)
	go func() {
		// The signal comes when the thread ends that has started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = p.cmd.Wait()
		if p.ears != nil {
			err = errors.Join(err, p.ears.Close())
		}
		close(p.done)
		s.ended <- ending{c, err}
	}()
	if err := <-started; err != nil {
		if p.ears != nil {
			err = errors.Join(err, p.ears.Close())
		}
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	s.log.Info("started "+c.name, "pid", p.cmd.Process.Pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = append(s.running, p)
	return nil
}

// longestState bounds what a process may say at once, in bytes.
const longestState = 4096

func listen(ears *net.UnixConn, told func(string)) {
	buffer := make([]byte, longestState)
	for {
		n, err := ears.Read(buffer)
		if err != nil {
			return // the process has ended
		}
		told(string(buffer[:n]))
	}
}

// waitSocket waits until containerd answers, or is gone.
func (s *supervisor) waitSocket(ctx context.Context, path string) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-s.ended:
			if err := e.failure(); err != nil {
				return err
			}
		case <-ticker.C:
		}
	}
}

// stop ends what runs, the last first, each with its time to do so.
func (s *supervisor) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.running) - 1; i >= 0; i-- {
		s.end(s.running[i])
	}
}

func (s *supervisor) end(p *process) {
	select {
	case <-p.done:
		return
	default:
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.log.Warn("end "+p.name, "error", err)
	}
	select {
	case <-p.done:
	case <-time.After(p.grace):
		s.log.Warn(p.name+" does not end, and is killed", "after", p.grace)
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.log.Warn("kill "+p.name, "error", err)
		}
		<-p.done
	}
	s.log.Info("ended " + p.name)
}
