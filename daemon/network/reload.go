// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"
)

// Networkd is the running systemd-networkd, and udev beside it.
type Networkd interface {
	// Active says whether systemd-networkd runs.
	Active(ctx context.Context) (bool, error)
	// ApplyLinks has udev read the .link files and look at every card again.
	ApplyLinks(ctx context.Context) error
	// Reload has networkd read the .netdev and .network files.
	Reload(ctx context.Context) error
	// Reconfigure sets interfaces up anew.
	Reconfigure(ctx context.Context, names []string) error
	// Interfaces are the names of the interfaces that there are.
	Interfaces() ([]string, error)
}

// Reload makes a change of the files true: cards get their names first, for the
// other files go by them. Where networkd doesn't run yet, it will read the files
// when it starts.
//
// Interfaces whose .netdev file has changed or gone stay as they were made until
// the next boot: networkd changes little of what is there, and removes nothing.
func Reload(ctx context.Context, n Networkd, links bool, names []string) error {
	if links {
		if err := n.ApplyLinks(ctx); err != nil {
			return fmt.Errorf("name network cards: %w", err)
		}
	}
	active, err := n.Active(ctx)
	if err != nil {
		return fmt.Errorf("ask whether systemd-networkd runs: %w", err)
	}
	if !active {
		return nil
	}
	if err := n.Reload(ctx); err != nil {
		return fmt.Errorf("reload systemd-networkd: %w", err)
	}
	present, err := n.Interfaces()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	// One that isn't there yet is configured when it comes.
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(present, name) })
	if len(names) == 0 {
		return nil
	}
	if err := n.Reconfigure(ctx, names); err != nil {
		return fmt.Errorf("reconfigure network interfaces %v: %w", names, err)
	}
	return nil
}

// Systemd is the systemd-networkd of this machine.
type Systemd struct{}

var _ Networkd = Systemd{}

// commandTimeout bounds what may wait for udev or for the bus.
const commandTimeout = 30 * time.Second

// Active asks systemd.
func (Systemd) Active(ctx context.Context) (bool, error) {
	err := run(ctx, "/usr/bin/systemctl", "is-active", "--quiet", "systemd-networkd.service")
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return false, nil
	}
	return err == nil, err
}

// ApplyLinks lets every card be added again: udev renames at no other event.
func (Systemd) ApplyLinks(ctx context.Context) error {
	if err := run(ctx, "/usr/bin/udevadm", "control", "--reload"); err != nil {
		return err
	}
	return run(ctx, "/usr/bin/udevadm", "trigger", "--settle", "--action=add", "--subsystem-match=net")
}

// Reload asks networkd.
func (Systemd) Reload(ctx context.Context) error { return run(ctx, "/usr/bin/networkctl", "reload") }

// Reconfigure asks networkd.
func (Systemd) Reconfigure(ctx context.Context, names []string) error {
	return run(ctx, "/usr/bin/networkctl", append([]string{"reconfigure"}, names...)...)
}

// Interfaces asks the kernel.
func (Systemd) Interfaces() ([]string, error) {
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// run runs a program, whose own words say best what went wrong.
func run(ctx context.Context, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if text := bytes.TrimSpace(output); err != nil && len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}
