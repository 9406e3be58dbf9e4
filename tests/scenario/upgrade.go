// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/tests/payload"
	"github.com/skerry-os/skerry/tests/vm"
)

// What payloads are served at, and the version of those that are built here; the image's is older.
const (
	payloadHost    = "payload.lab.example"
	payloadURL     = "http://" + payloadHost + "/"
	payloadVersion = "0.1.99"
)

// upgrades is a lab with payloads.
type upgrades struct {
	t     *T
	dir   string // what is served
	key   string // the file of the secret key
	trust string // the public key
	from  string // the version of the image
	bios  bool   // the firmware of its machines
}

// newUpgrades serves a folder for payloads, and makes a key that signs them.
func newUpgrades(t *T) (*upgrades, error) {
	u := &upgrades{t: t, dir: filepath.Join(t.Build, "payloads", t.name)}
	if err := os.RemoveAll(u.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(u.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	u.key = filepath.Join(t.Build, "payloads", t.name+".key")
	if u.trust, err = payload.NewKey(u.key); err != nil {
		return nil, err
	}
	return u, t.lab.Serve(http.FileServer(http.Dir(u.dir)), []netip.Addr{netip.MustParseAddr("198.51.100.1")}, payloadHost)
}

// build makes a payload of payloadVersion.
func (u *upgrades) build(ctx context.Context, name string, args ...string) error {
	return u.buildVersion(ctx, name, payloadVersion, args...)
}

func (u *upgrades) buildVersion(ctx context.Context, name, version string, args ...string) error {
	return payload.Build{Build: u.t.Build, Dir: filepath.Join(u.dir, name), Key: u.key, Version: version, Args: args}.Run(ctx)
}

// config is that of a server, or of an agent without one, which is soon up.
func (u *upgrades) config(base string, trial string) ([]byte, error) {
	text := base + "  upgrade:\n    source: " + payloadURL + "good\n    keys: [" + u.trust + "]\n    trial: " + trial + "\n"
	return vm.Override([]byte(text), vm.Overrides{Hostname: serverName, AuthorizedKey: u.t.lab.AuthorizedKey()})
}

const upgradeServerConfig = `#cloud-config
skerry:
  role: server
  cluster: {token: of-upgrades}
`

// slotStatus is what `skerry upgrade status -o json` says.
type slotStatus struct {
	Version string `json:"version"`
	Slots   []struct {
		Version  string `json:"version"`
		State    string `json:"state"`
		Running  bool   `json:"running"`
		RootHash string `json:"roothash"`
	} `json:"slots"`
	Trial *struct {
		Version string `json:"version"`
	} `json:"trial"`
	Last *struct {
		Version string `json:"version"`
		Result  string `json:"result"`
		Reason  string `json:"reason"`
	} `json:"last"`
	News string `json:"news"`
}

// states are the slots in one line: version, state and whether it runs.
func (s *slotStatus) states() string {
	var all []string
	for _, one := range s.Slots {
		text := strings.TrimSpace(one.Version + " " + one.State)
		if one.Running {
			text += " runs"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func (u *upgrades) status(ctx context.Context, m *vm.Machine) (*slotStatus, error) {
	out, err := m.Run(ctx, "sudo skerry upgrade status -o json")
	if err != nil {
		return nil, err
	}
	var s slotStatus
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, fmt.Errorf("skerry upgrade status says %q: %w", out, err)
	}
	return &s, nil
}

// are checks the states of the slots.
func (u *upgrades) are(ctx context.Context, m *vm.Machine, want string) error {
	s, err := u.status(ctx, m)
	if err == nil && s.states() != want {
		err = fmt.Errorf("the slots are %q, want %q", s.states(), want)
	}
	return err
}

// runs checks which version the machine runs, by what it runs from.
func (u *upgrades) runs(ctx context.Context, m *vm.Machine, version string) error {
	out, err := m.Run(ctx, ". /usr/lib/os-release && echo $IMAGE_VERSION")
	if err == nil && strings.TrimSpace(out) != version {
		err = fmt.Errorf("the machine runs %s, want %s", out, version)
	}
	return err
}

// boot boots a server until it is Ready, and remembers the version.
func (u *upgrades) boot(ctx context.Context, cfg vm.MachineConfig) (*vm.Machine, *vm.Cluster, error) {
	cfg.Name = serverName
	m, err := u.t.lab.Boot(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	c, err := m.WaitServer(ctx)
	if err != nil {
		return nil, nil, err
	}
	out, err := m.Run(ctx, ". /usr/lib/os-release && echo $IMAGE_VERSION")
	u.from = strings.TrimSpace(out)
	return m, c, err
}

// apply has a machine take a payload, and tells how.
func (u *upgrades) apply(ctx context.Context, m *vm.Machine, name string) error {
	out, err := m.Run(ctx, "sudo skerry upgrade apply "+payloadURL+name)
	if err == nil && !strings.Contains(out, "tried at the next boot") {
		err = fmt.Errorf("skerry upgrade apply says %q", out)
	}
	return err
}

// waitBlessed waits until the version that runs has proven itself.
func (u *upgrades) waitBlessed(ctx context.Context, m *vm.Machine, result string) error {
	return vm.Wait(ctx, "the version to be blessed", vm.ReadyTimeout, func(ctx context.Context) error {
		s, err := u.status(ctx, m)
		switch {
		case err != nil:
			return err
		case s.Trial != nil:
			return errors.New(s.News)
		case s.Last == nil || s.Last.Result != result:
			return fmt.Errorf("the last upgrade is %+v, want it %s", s.Last, result)
		}
		return nil
	})
}

// proves boots a machine into a version, and waits until that has proven itself.
func (u *upgrades) proves(ctx context.Context, m *vm.Machine, version, result string) error {
	if err := m.Reboot(ctx); err != nil {
		return err
	}
	if err := u.runs(ctx, m, version); err != nil {
		return err
	}
	return u.waitBlessed(ctx, m, result)
}

// waitFellBack waits until the machine runs the version of the image again, and tells why.
func (u *upgrades) waitFellBack(ctx context.Context, m *vm.Machine, boots int, why string) error {
	return vm.Wait(ctx, "the machine to go back", vm.ReadyTimeout, func(ctx context.Context) error {
		if m.Boots() < boots {
			return fmt.Errorf("it has booted %d times, want %d; the console ends with %q", m.Boots(), boots, m.Console().Last().Text)
		}
		if err := u.runs(ctx, m, u.from); err != nil {
			return err
		}
		s, err := u.status(ctx, m)
		if err != nil {
			return err
		}
		if s.Trial != nil || s.Last == nil || s.Last.Result != "fell back" || !strings.Contains(s.Last.Reason, why) {
			return fmt.Errorf("the last upgrade is %+v, and the news are %q; want it to have fallen back, for %q", s.Last, s.News, why)
		}
		return nil
	})
}
