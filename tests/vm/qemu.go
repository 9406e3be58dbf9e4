// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/skerry-os/skerry/tests/cluster"
)

const (
	qemuImg = "qemu-img"
	qemuIO  = "qemu-io"
)

var lookPath = exec.LookPath

// File descriptors that QEMU inherits. Sockets are handed over open, so that no path needs to be short enough for one.
const (
	qmpFD = 3
	nicFD = 4 // the first card's; those of the others follow
)

// hardware is what a machine is made of.
type hardware struct {
	name     string
	arch     architecture
	nics     []nic
	cpus     int
	memory   int // MiB
	disk     string
	vars     string
	seed     string   // "" for none
	firmware firmware // with bios, QEMU's own in its place
	bios     bool
	snapshot string // to start from, "" for power-on

	disks       []string // read-only
	smbios      []string
	credentials map[string][]byte
	discs       []string          // in CD drives
	fwCfg       map[string]string // files by their names in the guest
	clock       time.Time         // zero for the time

	controller    Controller // of the disk
	medium, stick string     // an ISO image in a CD drive, and a USB stick, that is started where the disk can't be; "" for none
	mediumFirst   bool       // before the disk

	tpm string // folder in which it remembers; "" for none
}

// nic is a network card as QEMU makes it.
type nic struct {
	model string // QEMU's name of the device
	mac   net.HardwareAddr
	slot  int // of the root bus; 0 for the next free one
	// netboot is how the firmware boots from it, after the disk.
	netboot Netboot
	// unlinked is set where the cable is pulled.
	unlinked bool
}

// netdev is QEMU's name for a card, from 0.
func netdev(card int) string { return fmt.Sprintf("net%d", card) }

func (n nic) args(card int) []string {
	device := fmt.Sprintf("%s,netdev=%s,mac=%s", n.model, netdev(card), n.mac)
	if n.netboot != NetbootIPXE {
		device += ",romfile=" // iPXE would be in the place of the firmware's own driver
	}
	if n.netboot != NoNetboot {
		device += fmt.Sprintf(",bootindex=%d", lastIndex)
	}
	if n.slot != 0 {
		device += fmt.Sprintf(",bus=pcie.0,addr=%#x", n.slot)
	}
	return []string{"-netdev", fmt.Sprintf("socket,id=%s,fd=%d", netdev(card), nicFD+card), "-device", device}
}

// noPXE has OVMF go straight to HTTP boot: it tries PXE first, which nobody in a lab answers, for minutes.
var noPXE = []string{
	"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n",
	"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n",
}

func (h hardware) args() []string {
	args := []string{
		"-machine", h.arch.machine, "-nodefaults", "-no-user-config", "-display", "none",
		"-name", h.name,
		"-smp", strconv.Itoa(h.cpus),
		"-m", strconv.Itoa(h.memory),
		// A reset ends the process: each boot is a process of its own with a console of its own, and starts cold.
		"-no-reboot",
		"-device", "virtio-rng-pci",
		"-drive", "if=none,id=disk,format=qcow2,discard=unmap,file=" + quoteOption(h.disk),
		"-chardev", "stdio,id=console,signal=off",
		"-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD),
		"-mon", "chardev=qmp,mode=control",
	}
	args = append(args, h.controller.args()...)
	if !h.bios {
		args = append(args, h.firmware.args(h.vars)...)
	}
	args = append(args, h.arch.accelerator().args...)
	for card, n := range h.nics {
		args = append(args, n.args(card)...)
		if n.netboot == NetbootUEFI {
			args = append(args, noPXE...)
		}
	}
	if h.seed != "" {
		args = append(args,
			"-drive", "if=none,id=seed,format=raw,readonly=on,file="+quoteOption(h.seed),
			"-device", "virtio-blk-pci,drive=seed,serial=seed")
	}
	for i, disk := range h.disks {
		id := fmt.Sprintf("disk%d", i+1)
		args = append(args,
			"-drive", "if=none,id="+id+",format=raw,readonly=on,file="+quoteOption(disk),
			"-device", "virtio-blk-pci,drive="+id+",serial="+id)
	}
	for i, disc := range h.discs {
		id := fmt.Sprintf("disc%d", i+1)
		args = append(args,
			"-drive", "if=none,id="+id+",format=raw,media=cdrom,readonly=on,file="+quoteOption(disc),
			"-device", "ide-cd,drive="+id)
	}
	args = append(args, h.mediumArgs()...)
	for _, name := range slices.Sorted(maps.Keys(h.fwCfg)) {
		args = append(args, "-fw_cfg", "name="+name+",file="+quoteOption(h.fwCfg[name]))
	}
	if h.tpm != "" {
		args = append(args, tpmArgs(nicFD+len(h.nics))...)
	}
	if !h.clock.IsZero() {
		args = append(args, "-rtc", "base="+h.clock.UTC().Format("2006-01-02T15:04:05"))
	}
	for _, table := range h.smbios {
		args = append(args, "-smbios", table)
	}
	for _, name := range slices.Sorted(maps.Keys(h.credentials)) {
		args = append(args, "-smbios", "type=11,value=io.systemd.credential.binary:"+name+"="+
			base64.StdEncoding.EncodeToString(h.credentials[name]))
	}
	if h.snapshot != "" {
		args = append(args, "-loadvm", h.snapshot)
	}
	return args
}

// quoteOption doubles commas, which separate QEMU's options.
func quoteOption(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// qemu is one running QEMU process: one boot of a machine.
type qemu struct {
	control  *qmp
	keys     io.WriteCloser // of the serial console
	cables   []net.Conn     // Ethernet frames of each card
	killOnce func()
	exited   chan struct{} // closed when the process is gone and its console is complete
	err      error         // of a process that ended by itself and badly; valid after exited
}

func (q *qemu) wires() []net.Conn      { return q.cables }
func (q *qemu) kill()                  { q.killOnce() }
func (q *qemu) ended() <-chan struct{} { return q.exited }

func (q *qemu) reason() string {
	if reason := q.control.shutdownReason(); reason != "" {
		return reason
	}
	return fmt.Sprintf("QEMU ended: %v", q.err)
}

// startQEMU switches the machine on. Its console goes to out, QEMU's own complaints to messages.
func startQEMU(ctx context.Context, h hardware, out, messages io.Writer) (*qemu, error) {
	control, controlFile, err := cluster.SocketPair("qmp")
	if err != nil {
		return nil, err
	}
	defer controlFile.Close()
	q := &qemu{exited: make(chan struct{})}
	inherited := []*os.File{controlFile} // qmpFD
	for card := range h.nics {
		wire, file, err := cluster.SocketPair(netdev(card))
		if err != nil {
			control.Close()
			q.closeWires()
			return nil, err
		}
		defer file.Close()
		q.cables, inherited = append(q.cables, wire), append(inherited, file)
	}
	if h.tpm != "" {
		file, err := startTPM(h.tpm, messages)
		if err != nil {
			control.Close()
			q.closeWires()
			return nil, err
		}
		defer file.Close()
		inherited = append(inherited, file)
	}

	var complaints bytes.Buffer
	cmd := exec.Command(h.arch.qemu, h.args()...)
	cmd.ExtraFiles = inherited
	cmd.Stdout = out
	if q.keys, err = cmd.StdinPipe(); err != nil {
		control.Close()
		q.closeWires()
		return nil, err
	}
	cmd.Stderr = io.MultiWriter(messages, &head{buf: &complaints, max: 4096})
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, // no machine outlives the harness, however that ends
		Setpgid:   true,            // Ctrl-C reaches the harness, which decides
	}
	started := make(chan error)
	go func() {
		// The signal above is sent when the thread that started the process ends, not the process: keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			q.err = cmd.Wait()
			close(q.exited)
		}
	}()
	if err := <-started; err != nil {
		q.closeWires()
		control.Close()
		return nil, fmt.Errorf("start %s: %w", h.arch.qemu, err)
	}
	q.killOnce = sync.OnceFunc(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended already
	})
	if q.control, err = newQMP(ctx, control); err != nil {
		q.kill()
		<-q.exited
		q.closeWires()
		return nil, fmt.Errorf("start %s: %w: %s", h.arch.qemu, err, strings.TrimSpace(complaints.String()))
	}
	for card, n := range h.nics {
		if !n.unlinked {
			continue
		}
		if err := q.setLink(ctx, card, false); err != nil {
			q.kill()
			<-q.exited
			q.closeWires()
			return nil, fmt.Errorf("pull the cable of %s: %w", netdev(card), err)
		}
	}
	return q, nil
}

func (q *qemu) closeWires() {
	for _, wire := range q.cables {
		wire.Close()
	}
}

// head keeps the first max bytes written to it; QEMU says what is wrong with its options first.
type head struct {
	buf *bytes.Buffer
	max int
}

func (t *head) Write(p []byte) (int, error) {
	if room := t.max - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
