// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/skerry-os/skerry/tests/vm/ethernet"
)

// Defaults of MachineConfig.
const (
	defaultCPUs   = 2
	defaultMemory = 2560 // MiB
	defaultDisk   = 10   // GiB
)

// MachineConfig says what a machine is. Only Name is needed.
type MachineConfig struct {
	Name   string // in the lab's DNS, and the folder of its files
	CPUs   int    // default 2
	Memory int    // MiB, default 2560
	// Disk is in GiB, by default 10. Of a native machine it is that of DATA alone, by default all of the host's.
	Disk int
	// UserData is the cloud-config, written to the NoCloud volume as it is. Nil leaves the volume out.
	UserData []byte
	// NICs are the network cards. The default is one in the lab's own network. Only the first has an address from DHCP, if
	// it is there.
	NICs []NIC
	// Disks are further raw images, attached read-only.
	Disks []string
	// SMBIOS is what the firmware says of the machine, each as QEMU's option -smbios takes it: "type=1,manufacturer=Hetzner".
	SMBIOS []string
	// Credentials are systemd's, by name (systemd.system-credentials(7)), handed over by the firmware's tables.
	Credentials map[string][]byte
	// Discs are ISO images in CD drives.
	Discs []string
	// FwCfg is what QEMU's fw_cfg device has for the system, by name: "opt/org.example/file".
	FwCfg map[string][]byte
	// User is who logs in with the lab's key, if not the image's own user. It needs sudo without a password.
	User string
	// Architecture is that of its processor, as Go has it: amd64, which is the default, or ARM64.
	Architecture string
	// Image is what the disk is made from, if not the lab's, and Format how, as QEMU names it; the default is raw.
	Image, Format string
	// Blank has the machine's disk empty, in the place of the image.
	Blank bool
	// Controller is what the machine's disk is connected by. The default is virtio's block device.
	Controller Controller
	// Medium is an ISO image that the firmware starts where it finds nothing on the disk: in a CD drive, or on a USB stick
	// with MediumIsStick.
	Medium        string
	MediumIsStick bool
	// MediumFirst has the firmware start the medium whatever is on the disk.
	MediumFirst bool
	// Netboot has the firmware boot from the network, by the first card, where it can't boot from the disk. See Lab.ServeBoot.
	Netboot Netboot
	// TPM gives the machine a TPM 2.0, and BIOS SeaBIOS in the place of UEFI.
	TPM, BIOS bool
	// SecureBoot gives it a firmware that knows Secure Boot, and has no certificate yet (setup mode). Emulated it has one
	// processor: OVMF's system management mode can wait for ever for a second one that QEMU emulates.
	SecureBoot bool
	// Clock is what the hardware's clock shows at each power-on, as after an empty battery. Zero for the time.
	Clock time.Time
}

// Machine is one virtual machine: a disk, network cards and a switch to turn it on.
type Machine struct {
	lab      *Lab
	arch     architecture
	firmware firmware
	cfg      MachineConfig
	number   int              // from 1
	at       atomic.Int64     // the number whose address it has: its own, unless it was moved
	ports    []*ethernet.Port // of each card
	dir      string
	disk     string

	mu sync.Mutex // guards everything that follows
	// boots has a console for each time the machine was switched on or reset.
	boots    []*Console
	process  power  // nil when off
	unlinked []bool // by card, those whose cable is pulled
	ending   string // why the machine went off, as QEMU says it
	snapshot string // to start from at the next power-on
	session  *ssh.Client
	hostKey  string
}

// Add puts a machine, switched off, with a fresh disk made from the image, into the lab.
func (l *Lab) Add(ctx context.Context, cfg MachineConfig) (_ *Machine, err error) {
	if cfg.CPUs == 0 {
		cfg.CPUs = defaultCPUs
	}
	if cfg.Memory == 0 {
		cfg.Memory = defaultMemory
	}
	if cfg.Disk == 0 && !l.cfg.Native {
		cfg.Disk = defaultDisk
	}
	if cfg.NICs = slices.Clone(cfg.NICs); len(cfg.NICs) == 0 {
		cfg.NICs = make([]NIC, 1)
	}
	m := &Machine{lab: l, cfg: cfg, dir: filepath.Join(l.cfg.Dir, cfg.Name), unlinked: make([]bool, len(cfg.NICs))}
	m.disk = filepath.Join(m.dir, "disk.qcow2")
	if err := l.add(m); err != nil {
		return nil, fmt.Errorf("add %s: %w", cfg.Name, err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		return nil, fmt.Errorf("add %s: %w", cfg.Name, err)
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, fmt.Errorf("add %s: %w", cfg.Name, err)
	}
	if l.cfg.Native {
		if cfg.UserData == nil {
			return m, nil
		}
		return m, m.SetUserData(cfg.UserData)
	}
	disk := func() error {
		return newOverlay(ctx, cmp.Or(cfg.Image, l.cfg.Image), cmp.Or(cfg.Format, "raw"), m.disk, cfg.Disk)
	}
	if cfg.Blank {
		disk = func() error { return newBlank(ctx, m.disk, cfg.Disk) }
	}
	if err := errors.Join(disk(), m.newStick(ctx)); err != nil {
		return nil, fmt.Errorf("add %s: %w", cfg.Name, err)
	}
	if err := m.chooseFirmware(); err != nil {
		return nil, fmt.Errorf("add %s: %w", cfg.Name, err)
	}
	if err := newVars(ctx, m.firmware.vars, m.varsPath()); err != nil {
		return nil, fmt.Errorf("add %s: %w", cfg.Name, err)
	}
	if cfg.UserData != nil {
		if err := m.SetUserData(cfg.UserData); err != nil {
			return nil, fmt.Errorf("add %s: %w", cfg.Name, err)
		}
	}
	return m, nil
}

// Boot adds a machine and switches it on.
func (l *Lab) Boot(ctx context.Context, cfg MachineConfig) (*Machine, error) {
	m, err := l.Add(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return m, m.PowerOn(ctx)
}

func (m *Machine) varsPath() string { return filepath.Join(m.dir, "vars.qcow2") }
func (m *Machine) seedPath() string { return filepath.Join(m.dir, "seed.img") }

// Name is the machine's name in the lab.
func (m *Machine) Name() string { return m.cfg.Name }

// Dir is where the machine's files are.
func (m *Machine) Dir() string { return m.dir }

// Address is the machine's address on the lab's network.
func (m *Machine) Address() netip.Addr { return ethernet.Address(int(m.at.Load())) }

// Move gives the machine, which must be off, another address, that no machine has or will have. Its name leads there.
func (m *Machine) Move() {
	m.lab.mu.Lock()
	defer m.lab.mu.Unlock()
	m.lab.moves++
	at := ethernet.LastMachine + 1 - m.lab.moves
	m.at.Store(int64(at))
	m.lab.host.SetAddress(m.number, at)
	m.lab.names[strings.ToLower(m.cfg.Name)] = m.Address()
}

// SetUserData writes a new NoCloud volume. A running machine sees it at its next power-on.
func (m *Machine) SetUserData(userData []byte) error {
	// The instance ID stays the same over all boots of one machine, as a cloud would have it.
	metaData := fmt.Sprintf("instance-id: %s\nlocal-hostname: %s\n", m.cfg.Name, m.cfg.Name)
	files := map[string][]byte{"user-data": userData, "meta-data": []byte(metaData)}
	if m.lab.cfg.Native {
		return m.writeCredentials(files)
	}
	return writeSeed(m.seedPath(), files)
}

// RemoveUserData takes the NoCloud volume out at the machine's next power-on or reset.
func (m *Machine) RemoveUserData() error { return os.Remove(m.seedPath()) }

// Type writes to the machine's serial console, as somebody at a terminal would.
func (m *Machine) Type(text string) error {
	m.mu.Lock()
	q, ok := m.process.(*qemu)
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("type on the console of %s: it is no virtual machine that is on", m.cfg.Name)
	}
	if _, err := io.WriteString(q.keys, text); err != nil {
		return fmt.Errorf("type on the console of %s: %w", m.cfg.Name, err)
	}
	return nil
}

// Running says whether the machine is switched on.
func (m *Machine) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process != nil
}

// PowerCut takes the power away at once. What the guest had not flushed to its disk may or may not be there afterwards:
// writes to clusters that the disk file had before survive, for the host has them; the table of new clusters is in the
// memory of QEMU and lost.
func (m *Machine) PowerCut() {
	m.mu.Lock()
	p := m.process
	m.process, m.ending = nil, "power cut"
	m.mu.Unlock()
	if p == nil {
		return
	}
	p.kill()
	<-p.ended()
}

// Shutdown powers the machine off in order and waits until it is off.
func (m *Machine) Shutdown(ctx context.Context) error {
	if err := m.systemctl(ctx, "poweroff"); err != nil {
		return fmt.Errorf("shut %s down: %w", m.cfg.Name, err)
	}
	return Wait(ctx, m.cfg.Name+" to switch itself off", OffTimeout, func(context.Context) error {
		if m.Running() {
			return fmt.Errorf("it is on, its console ends with %q", m.Console().Last().Text)
		}
		return nil
	})
}

// systemctl has the machine go down. One that is quick about it ends the login before the command has told its status:
// whether it went down is for the caller to see.
func (m *Machine) systemctl(ctx context.Context, verb string) error {
	_, err := m.Run(ctx, "sudo systemctl "+verb+" --no-block")
	return m.WentDown(err)
}

// WentDown is the error of a command that has the machine go down: nil where the machine was quicker than the command's
// status.
func (m *Machine) WentDown(err error) error {
	var ended *ssh.ExitMissingError
	if errors.As(err, &ended) {
		return nil
	}
	return err
}

// Reboot restarts the machine in order and waits until it can be logged in to again.
func (m *Machine) Reboot(ctx context.Context) error {
	before := m.Boots()
	id, err := m.BootID(ctx)
	if err != nil {
		return fmt.Errorf("reboot %s: %w", m.cfg.Name, err)
	}
	if err := m.systemctl(ctx, "reboot"); err != nil {
		return fmt.Errorf("reboot %s: %w", m.cfg.Name, err)
	}
	err = Wait(ctx, m.cfg.Name+" to go down for the reboot", OffTimeout, func(context.Context) error {
		if m.Boots() == before {
			return fmt.Errorf("it is still up, its console ends with %q", m.Console().Last().Text)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.WaitSSH(ctx); err != nil {
		return err
	}
	now, err := m.BootID(ctx)
	if err != nil {
		return fmt.Errorf("reboot %s: %w", m.cfg.Name, err)
	}
	if now == id {
		return fmt.Errorf("reboot %s: the boot ID is still %s", m.cfg.Name, id)
	}
	return nil
}

// BootID is the kernel's identifier of the current boot.
func (m *Machine) BootID(ctx context.Context) (string, error) {
	out, err := m.Run(ctx, "cat /proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(out), err
}

// Snapshot stores the running machine, memory and disk, under a name.
func (m *Machine) Snapshot(ctx context.Context, name string) error {
	m.mu.Lock()
	q, ok := m.process.(*qemu)
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("snapshot %s: it is no virtual machine that is on", m.cfg.Name)
	}
	if err := q.control.monitor(ctx, "savevm "+name); err != nil {
		return fmt.Errorf("snapshot %s: %w", m.cfg.Name, err)
	}
	return nil
}

// Restore puts the machine into the state of a snapshot, running, with the clock set to now: a guest that wakes up in
// the past would find its certificates not yet valid.
func (m *Machine) Restore(ctx context.Context, name string) error {
	m.PowerCut()
	m.mu.Lock()
	m.snapshot = name
	err := m.powerOnLocked(ctx)
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("restore %s: %w", m.cfg.Name, err)
	}
	if err := m.WaitSSH(ctx); err != nil {
		return err
	}
	_, err = m.Run(ctx, fmt.Sprintf("sudo date -u -s @%d", time.Now().Unix()))
	return err
}

// Boots is how often the machine was switched on or reset itself.
func (m *Machine) Boots() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.boots)
}

// Console is the console of the current boot, or of the last one of a machine that is off.
func (m *Machine) Console() *Console {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.boots) == 0 {
		return NewConsole(nil, nil)
	}
	return m.boots[len(m.boots)-1]
}

// Consoles are those of all boots, in order.
func (m *Machine) Consoles() []*Console {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*Console(nil), m.boots...)
}

// WaitConsole waits for a line on the console of the current boot.
func (m *Machine) WaitConsole(ctx context.Context, within time.Duration, re *regexp.Regexp) (Line, error) {
	var line Line
	err := Wait(ctx, fmt.Sprintf("%q on the console of %s", re, m.cfg.Name), within, func(context.Context) error {
		var found bool
		if line, found = m.Console().Find(re); found {
			return nil
		}
		if !m.Running() {
			return m.isOff()
		}
		return fmt.Errorf("the console ends with %q", m.Console().Last().Text)
	})
	return line, err
}

var errOff = errors.New("the machine is off")

// isOff is for conditions that only a running machine can fulfil.
func (m *Machine) isOff() error {
	m.mu.Lock()
	ending := m.ending
	m.mu.Unlock()
	return Never("the machine is off (%s); its console ends with %q", ending, m.Console().Last().Text)
}
