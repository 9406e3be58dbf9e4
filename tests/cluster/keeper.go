// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// keepMachine runs in the machine's own namespaces, as their first process, until the machine ends.
func keepMachine(text string) error {
	var spec Spec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	if err := enterCgroup(spec); err != nil {
		return err
	}
	root, err := mountRoot(spec)
	if err != nil {
		return err
	}
	var taps []*os.File
	for card, mac := range spec.MACs {
		tap, err := makeCard(cardName(card), mac)
		if err != nil {
			return err
		}
		taps = append(taps, tap)
	}
	pty, terminal, err := openTerminal()
	if err != nil {
		return err
	}
	cmd := exec.Command(nspawn, nspawnArgs(spec, root)...)
	cmd.Env = append(os.Environ(),
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=network", // the kernel's other settings are this machine's, too
	)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	terminal.Close()
	for card, tap := range taps {
		wire := os.NewFile(uintptr(wireFD+card), "wire")
		go fromWire(tap, wire)
		go toWire(wire, tap)
	}
	go func() {
		_, _ = io.Copy(os.Stdout, pty) // until the machine's end, which is an error to a terminal
	}()
	return cmd.Wait()
}

func cardName(card int) string { return "eth" + strconv.Itoa(card) }

func nspawnArgs(spec Spec, root string) []string {
	args := []string{
		"--quiet", "--register=no", "--keep-unit", "--boot", "--console=interactive",
		"--machine=" + spec.Name, "--directory=" + root,
		"--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--capability=all", "--system-call-filter=@keyring bpf",
		"--bind=/dev/kmsg", // which the kubelet can't do without
	}
	for card := range spec.MACs {
		args = append(args, "--network-interface="+cardName(card))
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Credentials)) {
		args = append(args, "--load-credential="+name+":"+spec.Credentials[name])
	}
	return args
}

// mountRoot does what the initrd does: it mounts the root, read-only, and what the machine keeps, and has the image's own
// program prepare the rest.
func mountRoot(spec Spec) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("leave the mounts of others alone: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", fmt.Errorf("mount /proc: %w", err)
	}
	// Where /sys can be written, systemd-nspawn waits for udev to know a card. There may be no udev here.
	if err := mount("--rbind", "/sys", "/sys"); err != nil {
		return "", err
	}
	if err := mount("-o", "remount,bind,ro", "/sys"); err != nil {
		return "", err
	}
	dir := func(name string) string { return filepath.Join(spec.Dir, name) }
	for _, name := range []string{"image", "tree", "root", "state", "data", "run"} {
		if err := os.MkdirAll(dir(name), 0o755); err != nil {
			return "", err
		}
	}
	err := mount("-t", "erofs", "-o", fmt.Sprintf("ro,loop,offset=%d,sizelimit=%d", spec.RootStart, spec.RootSize), spec.Image, dir("image"))
	if err != nil {
		return "", err
	}
	if err := writeTree(dir("image"), dir("tree")); err != nil {
		return "", fmt.Errorf("write what is different in tests: %w", err)
	}
	if err := mount("-t", "overlay", "-o", "lowerdir="+dir("tree")+":"+dir("image"), "overlay", dir("root")); err != nil {
		return "", err
	}
	if spec.DataSize > 0 {
		if err := mountData(dir("data.img"), spec.DataSize, dir("data")); err != nil {
			return "", err
		}
	}
	for source, target := range map[string]string{"state": "root/state", "data": "root/var"} {
		if err := mount("--bind", dir(source), dir(target)); err != nil {
			return "", err
		}
	}
	// /run of a machine is gone when it is off.
	if err := mount("-t", "tmpfs", "tmpfs", dir("run")); err != nil {
		return "", err
	}
	initrd := exec.Command(dir("root/usr/libexec/skerry/skerry-initrd"),
		"-sysroot", dir("root"), "-run", dir("run"), "-state", "/dev/null", "-data", "/dev/null")
	if out, err := initrd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("prepare the root: %w: %s", err, out)
	}
	return dir("root"), nil
}

// mountData mounts a file system in a file, which it makes when it isn't there.
func mountData(file string, size int64, at string) error {
	_, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		err = run("mkfs.ext4", "-q", file, strconv.FormatInt(size>>10, 10)+"K")
	}
	if err != nil {
		return err
	}
	return mount("-o", "loop", file, at)
}

func mount(args ...string) error { return run("mount", args...) }

func run(program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// cgroupOf is where the machine's processes are counted. Each needs a place of its own: its systemd takes what it is
// given for the whole.
func cgroupOf(spec Spec) (string, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer mounts.Close()
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if i := slices.Index(fields, "-"); i > 4 && len(fields) > i+1 && fields[i+1] == "cgroup2" {
			name := strings.ReplaceAll(strings.Trim(spec.Dir, "/"), "/", "-")
			return filepath.Join(fields[4], "skerry-test-"+name), nil
		}
	}
	return "", errors.Join(errors.New("there is no cgroup2 file system on this machine"), lines.Err())
}

func enterCgroup(spec Spec) error {
	dir, err := cgroupOf(spec)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the machine's cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter the machine's cgroup: %w", err)
	}
	return nil
}

// makeCard makes a network card whose frames are the file's.
func makeCard(name, mac string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make card %s: %w", name, err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, fmt.Errorf("make card %s: %w", name, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	address, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetHardwareAddr(link, address); err != nil {
		return nil, fmt.Errorf("give card %s its address: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// maxFrame is more than a card sends without segmentation offload, which a tap has not unless it is asked for.
const maxFrame = 64 << 10

func fromWire(card io.Writer, wire io.Reader) {
	in := bufio.NewReaderSize(wire, maxFrame)
	frame := make([]byte, maxFrame)
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if n > maxFrame {
			return
		}
		if _, err := io.ReadFull(in, frame[:n]); err != nil {
			return
		}
		_, _ = card.Write(frame[:n]) // a card that is down hears nothing
	}
}

func toWire(wire io.Writer, card io.Reader) {
	buf := make([]byte, 4+maxFrame)
	for {
		n, err := card.Read(buf[4:])
		if err != nil {
			return
		}
		binary.BigEndian.PutUint32(buf, uint32(n))
		if _, err := wire.Write(buf[:4+n]); err != nil {
			return
		}
	}
}

// openTerminal returns the two ends of a pseudo-terminal: systemd shows nothing on a console that is none.
func openTerminal() (pty, terminal *os.File, err error) {
	pty, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	var number uint32
	control, err := pty.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var failed error
	err = control.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.FormatUint(uint64(number), 10), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	return pty, terminal, nil
}
