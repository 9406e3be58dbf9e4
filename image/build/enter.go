// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// insideArg is argv[1] of the process that sets up the tools tree and becomes the tool.
const insideArg = "inside-tools-tree"

// A tool is one command run with the tools tree as its root file system.
type tool struct {
	Tree  string            // host path of the tools tree
	Binds map[string]string // name under /mnt in the tree → host path, read-write
	Env   map[string]string
	Args  []string
}

// run starts the tool in a mount namespace of its own and waits for it. Everything it prints goes
// to log.
//
// A plain chroot is not enough: mkosi and systemd-repart make mount namespaces themselves and need
// "/" to be a mount point they can change the propagation of.
func (t tool) run(ctx context.Context, log io.Writer) error {
	spec, err := json.Marshal(t)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, insideArg, string(spec))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"LANG=C.UTF-8", "HOME=/root", "TERM=dumb",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	// The package manager must reach the archive the way the host does.
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		for _, n := range []string{name, strings.ToUpper(name)} {
			if v, ok := os.LookupEnv(n); ok {
				cmd.Env = append(cmd.Env, n+"="+v)
			}
		}
	}
	for k, v := range t.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	fmt.Fprintf(log, "+ %s\n", strings.Join(t.Args, " "))
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", t.Args[0], err)
	}
	return nil
}

// becomeTool is the other side of run: it makes the tools tree the root of this mount namespace and
// replaces the process by the tool. It returns only on failure.
func becomeTool(spec string) error {
	var t tool
	if err := json.Unmarshal([]byte(spec), &t); err != nil {
		return fmt.Errorf("read tool description: %w", err)
	}
	type mount struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}
	in := func(p string) string { return filepath.Join(t.Tree, p) }
	mounts := []mount{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE, ""},
		{t.Tree, t.Tree, "", syscall.MS_BIND, ""},
		{"/dev", in("dev"), "", syscall.MS_BIND | syscall.MS_REC, ""},
		{"/sys", in("sys"), "", syscall.MS_BIND | syscall.MS_REC, ""},
		{"proc", in("proc"), "proc", 0, ""},
		{"tmpfs", in("tmp"), "tmpfs", 0, "mode=1777"},
		{"tmpfs", in("run"), "tmpfs", 0, "mode=0755"},
		{"tmpfs", in("mnt"), "tmpfs", 0, "mode=0755"},
	}
	for _, m := range mounts {
		if err := syscall.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
		}
	}
	for name, source := range t.Binds {
		target := in("mnt/" + name)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", source, err)
		}
	}
	// The old root goes below the new one's /run, which is empty, and is let go of at once.
	old := in("run/host")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := syscall.PivotRoot(t.Tree, old); err != nil {
		return fmt.Errorf("pivot into %s: %w", t.Tree, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Unmount("/run/host", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host's root: %w", err)
	}
	path, err := exec.LookPath(t.Args[0])
	if err != nil {
		return err
	}
	return errors.Join(errors.New("start "+path), syscall.Exec(path, t.Args, os.Environ()))
}
