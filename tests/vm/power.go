// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

// PowerOn switches the machine on. A machine that resets itself is switched on again without further ado, as hardware
// would; one that powers off stays off.
func (m *Machine) PowerOn(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.powerOnLocked(ctx)
}

func (m *Machine) powerOnLocked(ctx context.Context) error {
	if m.process != nil {
		return fmt.Errorf("switch %s on: it is on", m.cfg.Name)
	}
	if err := m.lab.ctx.Err(); err != nil {
		return fmt.Errorf("switch %s on: %w", m.cfg.Name, err)
	}
	n := len(m.boots) + 1
	file, err := os.Create(filepath.Join(m.dir, fmt.Sprintf("console-%d.log", n)))
	if err != nil {
		return fmt.Errorf("switch %s on: %w", m.cfg.Name, err)
	}
	messages, err := os.OpenFile(filepath.Join(m.dir, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		file.Close()
		return fmt.Errorf("switch %s on: %w", m.cfg.Name, err)
	}
	console := NewConsole(file, func(l Line) {
		if m.lab.cfg.Follow != nil {
			m.lab.cfg.Follow(m, l)
		}
	})
	p, err := m.start(ctx, console, messages)
	if err != nil {
		file.Close()
		messages.Close()
		return fmt.Errorf("switch %s on: %w", m.cfg.Name, err)
	}
	m.process, m.snapshot = p, ""
	m.boots = append(m.boots, console)
	m.lab.cfg.Log.Debug("power on", "machine", m.cfg.Name, "boot", n)
	for card, port := range m.ports {
		go port.Serve(p.wires()[card]) //nolint:errcheck // ends with the process, whose end is dealt with below
	}
	stop := context.AfterFunc(m.lab.ctx, p.kill)
	go func() {
		<-p.ended()
		stop()
		for _, wire := range p.wires() {
			wire.Close()
		}
		console.Close()
		file.Close()
		messages.Close()
		m.ended(p)
	}()
	return nil
}

// power is a machine that is on.
type power interface {
	wires() []net.Conn // Ethernet frames of each card
	kill()
	ended() <-chan struct{} // closed when the machine is off and its console is complete
	reason() string         // of one that has ended by itself: "guest-reset" of one that is to be switched on again
}

func (m *Machine) start(ctx context.Context, console *Console, messages io.Writer) (power, error) {
	if m.lab.cfg.Native {
		return m.startNative(console, messages)
	}
	return m.startVirtual(ctx, console, messages)
}

func (m *Machine) startVirtual(ctx context.Context, console *Console, messages io.Writer) (_ power, err error) {
	h := hardware{
		name: m.cfg.Name, arch: m.arch, cpus: m.cfg.CPUs, memory: m.cfg.Memory,
		disk: m.disk, vars: m.varsPath(), firmware: m.firmware, bios: m.cfg.BIOS, snapshot: m.snapshot,
		disks: m.cfg.Disks, smbios: m.cfg.SMBIOS, credentials: m.cfg.Credentials,
		discs: m.cfg.Discs, clock: m.cfg.Clock,
		controller: m.cfg.Controller, medium: m.cfg.Medium, mediumFirst: m.cfg.MediumFirst,
	}
	if m.cfg.MediumIsStick && m.cfg.Medium != "" {
		h.medium, h.stick = "", m.stickPath()
	}
	if m.cfg.TPM {
		h.tpm = m.tpmDir()
	}
	if h.fwCfg, err = writeFwCfg(m.dir, m.cfg.FwCfg); err != nil {
		return nil, err
	}
	for card, n := range m.cfg.NICs {
		h.nics = append(h.nics, nic{model: cmp.Or(n.Model, defaultModel), mac: m.MAC(card), slot: n.Slot, unlinked: m.unlinked[card]})
	}
	h.nics[0].netboot = m.cfg.Netboot
	if exists(m.seedPath()) {
		h.seed = m.seedPath()
	}
	return startQEMU(ctx, h, console, messages)
}

// ended deals with a machine that is off.
func (m *Machine) ended(p power) {
	reason := p.reason()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hangUpLocked()
	if m.process != p {
		return // switched off on purpose
	}
	m.process = nil
	m.ending = reason
	m.lab.cfg.Log.Debug("machine stopped", "machine", m.cfg.Name, "reason", m.ending)
	if reason == "guest-reset" && m.lab.ctx.Err() == nil {
		if err := m.powerOnLocked(m.lab.ctx); err != nil {
			m.lab.cfg.Log.Error("machine reset itself and could not be switched on again", "machine", m.cfg.Name, "err", err)
		}
	}
}
