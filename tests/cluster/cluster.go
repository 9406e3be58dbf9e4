// SPDX-License-Identifier: Apache-2.0

// Package cluster runs the image's root file system as systemd-nspawn machines: the same systemd, the same programs and
// the same wire as in a virtual machine, on the kernel of the machine that the tests run on. A node is Ready in seconds.
//
// It is for what many nodes do with each other. What concerns the kernel, the boot, limits of memory and processor, or
// the loss of power belongs into virtual machines: here, power is cut by killing processes, and what they wrote is there
// afterwards. The differences to a real machine are in tree.go, and none of them is in the product.
//
// It needs root, systemd-nspawn and a kernel with erofs, overlayfs and tun. A machine has a network of its own, whose
// only card is a wire to the caller, and ends with the caller, however that ends.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is one boot of a machine.
type Spec struct {
	Name string // of the host, until the cloud-config says another
	// Image is a raw disk image, and Root the place of the erofs file system in it, in bytes.
	Image               string
	RootStart, RootSize int64
	// Dir keeps what a real machine keeps on its disk. It must be the machine's alone.
	Dir string
	// DataSize is that of its partition DATA in bytes; 0 has it share the file system that Dir is on.
	DataSize int64
	// MACs are the addresses of the cards, which are called eth0, eth1 and so on.
	MACs []string
	// Credentials are files, by the name of the credential that systemd gets.
	Credentials map[string]string
}

// Process is a running machine.
type Process struct {
	// Wires have the Ethernet frames of each card, each after its length as four bytes, big endian.
	Wires []net.Conn

	kill   func()
	exited chan struct{}
	status error // valid after exited
}

// Kill ends the machine at once.
func (p *Process) Kill() { p.kill() }

// Exited is closed when the machine is gone.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// rebooted is the status that systemd-nspawn ends with when its machine wants to be started again.
const rebooted = 133

// Reason tells of a machine that has ended what it ended for: "guest-reset", "guest-shutdown", or what went wrong.
func (p *Process) Reason() string {
	var exit *exec.ExitError
	switch {
	case p.status == nil:
		return "guest-shutdown"
	case errors.As(p.status, &exit) && exit.ExitCode() == rebooted:
		return "guest-reset"
	}
	return "systemd-nspawn ended: " + p.status.Error()
}

// inotifyInstances is what the image sets. It is a setting of the kernel that all machines share: with Debian's own, 128,
// containerd's CRI plugin does not start on the fifth machine.
const inotifyInstances = 8192

// CheckHost says what is missing on this machine, and raises its limit of inotify instances, until its next boot.
func CheckHost() error {
	if os.Geteuid() != 0 {
		return errors.New("machines of this kind need root; run this with sudo")
	}
	for _, program := range []string{nspawn, "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w; on Debian: apt install systemd-container", err)
		}
	}
	const limit = "/proc/sys/fs/inotify/max_user_instances"
	now, err := os.ReadFile(limit)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(now))); err != nil || n >= inotifyInstances {
		return err
	}
	return os.WriteFile(limit, []byte(strconv.Itoa(inotifyInstances)), 0)
}

const (
	nspawn = "systemd-nspawn"
	// The names under which this program is executed again.
	machineRole = "skerry-test-machine"
	runtimeRole = "skerry-test-crun"
	sysctlRole  = "skerry-test-sysctl"
)

// wireFD is the first of the wires that the machine's own process inherits.
const wireFD = 3

// Start boots a machine. Its console goes to console, what its keeper complains of to messages.
//
// The machine is kept by this program, executed once more in namespaces of its own: when its keeper dies, the kernel
// ends everything in them. So main must call Helper first.
func Start(spec Spec, console, messages io.Writer) (*Process, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	p := &Process{exited: make(chan struct{})}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{machineRole, string(data)}
	cmd.Stdout, cmd.Stderr = console, messages
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	for range spec.MACs {
		ours, theirs, err := SocketPair("wire")
		if err != nil {
			p.closeWires()
			return nil, err
		}
		defer theirs.Close()
		p.Wires, cmd.ExtraFiles = append(p.Wires, ours), append(cmd.ExtraFiles, theirs)
	}
	started := make(chan error)
	go func() {
		// Pdeathsig is sent when the thread that started the process ends, not the process: keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.status = cmd.Wait()
			removeCgroup(spec)
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		p.closeWires()
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p.kill = sync.OnceFunc(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended already
	})
	return p, nil
}

func (p *Process) closeWires() {
	for _, wire := range p.Wires {
		wire.Close()
	}
}

// SocketPair returns a connection and the file of its other end, for a child to inherit.
func SocketPair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return conn, theirs, nil
}

// Helper is this program in another role, if it was executed as one of them: then it does not return. It must be the
// first thing that main does.
func Helper() {
	var err error
	switch filepath.Base(os.Args[0]) {
	case machineRole:
		err = keepMachine(os.Args[1])
	case runtimeRole:
		err = runCrun(os.Args[1:])
	case sysctlRole:
		err = shadowSysctls()
	case upgradeRole:
		err = runUpgrade(os.Args[1:])
	default:
		return
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// removeCgroup removes what is left of a machine whose processes are gone. The kernel takes a moment to notice that.
func removeCgroup(spec Spec) {
	dir, err := cgroupOf(spec)
	if err != nil {
		return
	}
	for range 50 {
		var dirs []string
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
		if _, err := os.Stat(dir); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
