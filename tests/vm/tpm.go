// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

const swtpmBinary = "swtpm"

// tpmDir is where a machine's TPM keeps what it remembers.
func (m *Machine) tpmDir() string { return filepath.Join(m.dir, "tpm") }

// ClearTPM takes from the TPM of a machine that is off all that it remembers, as its firmware's menu does.
func (m *Machine) ClearTPM() error {
	if m.Running() {
		return fmt.Errorf("clear the TPM of %s: the machine is on", m.cfg.Name)
	}
	return os.RemoveAll(m.tpmDir())
}

// startTPM starts a TPM that keeps what it remembers in a folder, and ends with the machine that file is handed to.
func startTPM(dir string, messages io.Writer) (file *os.File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	machine, tpm := os.NewFile(uintptr(pair[0]), "tpm of the machine"), os.NewFile(uintptr(pair[1]), "tpm")
	defer tpm.Close()
	cmd := exec.Command(swtpmBinary, "socket", "--tpm2", "--tpmstate", "dir="+dir, "--ctrl", "type=unixio,clientfd=3",
		"--flags", "not-need-init", "--terminate")
	cmd.ExtraFiles = []*os.File{tpm}
	cmd.Stdout, cmd.Stderr = messages, messages
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // as with QEMU
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() //nolint:errcheck // the machine is without a TPM then, which shows
		}
	}()
	if err := <-started; err != nil {
		machine.Close()
		return nil, fmt.Errorf("start %s: %w", swtpmBinary, err)
	}
	return machine, nil
}

// tpmArgs give a machine the TPM at a file descriptor.
func tpmArgs(fd int) []string {
	return []string{
		"-chardev", fmt.Sprintf("socket,id=tpm,fd=%d", fd),
		"-tpmdev", "emulator,id=tpm,chardev=tpm",
		"-device", "tpm-tis,tpmdev=tpm",
	}
}
