// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// upgradeRole stands for `skerry upgrade` on a machine that has no slots: its versions are a word on STATE. It answers as
// that does, and a version comes by a real reboot and is on trial until the node is Ready, or is given up of. What it does
// not have is all that is of the disk: payloads, signatures, slots, boot counting.
const upgradeRole = "skerry-test-upgrade"

// A scenario writes what the source has to upgradeOffer, and the program keeps its own in upgradeState.
const (
	upgradeOffer = "/state/test-upgrade-offer.json"
	upgradeState = "/state/test-upgrade.json"
)

// offered is a payload of machines without slots.
type offered struct {
	Version    string `json:"version"`
	Kubernetes string `json:"kubernetes"`
	// Fails is why this machine gives up of it after a reboot, Refused why it is not to be had at all; "" for neither.
	Fails   string `json:"fails"`
	Refused string `json:"refused"`
}

type kept struct {
	Version string   `json:"version"`
	Trial   *trial   `json:"trial,omitempty"`
	Last    *outcome `json:"last,omitempty"`
}

type trial struct {
	Version   string `json:"version"`
	Installed bool   `json:"installed"`
	Boot      string `json:"boot"` // that it was applied in
	Fails     string `json:"fails,omitempty"`
}

type outcome struct {
	Version string `json:"version"`
	Result  string `json:"result"`
	Reason  string `json:"reason,omitempty"`
}

// runUpgrade is the program: upgrade check SOURCE | apply SOURCE | status.
func runUpgrade(args []string) error {
	if len(args) < 2 || args[0] != "upgrade" {
		return fmt.Errorf("%q is not what this program can do", args)
	}
	now, err := settled()
	if err != nil {
		return err
	}
	switch args[1] {
	case "status":
		return json.NewEncoder(os.Stdout).Encode(now)
	case "check", "apply":
		var o offered
		if err := readJSON(upgradeOffer, &o); err != nil {
			return err
		}
		if o.Refused != "" {
			return errors.New(o.Refused)
		}
		if args[1] == "check" {
			return json.NewEncoder(os.Stdout).Encode(map[string]any{
				"running": now.Version, "version": o.Version, "newer": o.Version > now.Version, "kubernetes": o.Kubernetes,
				"installed": now.Trial != nil && now.Trial.Version == o.Version,
			})
		}
		boot, err := bootID()
		if err != nil {
			return err
		}
		now.Trial = &trial{Version: o.Version, Installed: true, Boot: boot, Fails: o.Fails}
		return writeJSON(upgradeState, now)
	}
	return fmt.Errorf("%q is not what this program can do", args)
}

// settled is what is kept, once a reboot and a Ready node have had their effect on it.
func settled() (kept, error) {
	now := kept{Version: "0.1.0"}
	if err := readJSON(upgradeState, &now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return now, err
	}
	if now.Trial == nil {
		return now, nil
	}
	boot, err := bootID()
	if err != nil || boot == now.Trial.Boot {
		return now, err // it waits for a reboot
	}
	t := now.Trial
	switch {
	case t.Fails != "":
		now.Trial, now.Last = nil, &outcome{Version: t.Version, Result: "fell back", Reason: t.Fails}
	case exec.Command("systemctl", "--quiet", "is-active", "skerry.service").Run() == nil: // it is once the node is Ready
		now = kept{Version: t.Version, Last: &outcome{Version: t.Version, Result: "blessed"}}
	default:
		now.Version = t.Version
	}
	return now, writeJSON(upgradeState, now)
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// writeJSON replaces the file at once: the program may be called twice at a time.
func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".test-upgrade-*")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
