// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/payload"
	"github.com/skerry-os/skerry/tests/vm"
)

// Lifecycle is what a machine takes from an empty disk to its next version, in seconds where nothing else is said.
type Lifecycle struct {
	Install Install `json:"install"`
	Upgrade Upgrade `json:"upgrade"`
}

// Install is that of the ISO image from a CD drive.
type Install struct {
	Write float64 `json:"write"` // writing and reading back, as the installer says
	Ready float64 `json:"ready"` // from power-on with an empty disk to a Ready node
}

// Upgrade is that to the same programs under a later version.
type Upgrade struct {
	Bytes    int64   `json:"bytes"`    // that were fetched
	Apply    float64 `json:"apply"`    // fetching, writing and reading back, while the node works
	Reboot   float64 `json:"reboot"`   // a reboot without an upgrade, from the command to a Ready node
	Downtime float64 `json:"downtime"` // the reboot into the new version, likewise
}

// laterVersion is that of the upgrade, and later than any version of an image.
const laterVersion = "999"

// installTimeout is from power-on to a disk that is written.
const installTimeout = 10 * time.Minute

var (
	saysReading   = regexp.MustCompile(`install: read the system back`)
	saysInstalled = regexp.MustCompile(`installed to \S+ in (\d+) seconds`)
)

func (b *bench) lifecycle(ctx context.Context) (Lifecycle, error) {
	lab, err := b.lab(ctx, "bench-lifecycle")
	if err != nil {
		return Lifecycle{}, err
	}
	defer lab.Close()
	l, err := b.measureLifecycle(ctx, lab)
	return l, b.explain(ctx, lab, err)
}

func (b *bench) measureLifecycle(ctx context.Context, lab *vm.Lab) (l Lifecycle, err error) {
	next := payload.Build{Build: b.build, Dir: filepath.Join(b.build, "bench-payload"), Key: filepath.Join(b.build, "bench-payload.key"), Version: laterVersion}
	trust, err := payload.NewKey(next.Key)
	if err != nil {
		return l, err
	}
	say("build a payload for an upgrade")
	if err := next.Run(ctx); err != nil {
		return l, err
	}
	const host = "payload.lab.example"
	files := &servedFiles{files: http.FileServer(http.Dir(next.Dir))}
	if err := lab.Serve(files, []netip.Addr{netip.MustParseAddr("198.51.100.1")}, host); err != nil {
		return l, err
	}
	config := fmt.Sprintf("#cloud-config\nskerry:\n  role: server\n  install: {serial: disk}\n  cluster: {token: of-the-bench}\n"+
		"  upgrade: {source: 'http://%s/', keys: ['%s'], trial: {deadline: 60m, stable: 10s}}\n", host, trust)
	userData, err := vm.Override([]byte(config), vm.Overrides{Hostname: serverName, AuthorizedKey: lab.AuthorizedKey()})
	if err != nil {
		return l, err
	}
	iso := strings.TrimSuffix(b.image, ".raw") + ".iso"
	if _, err := os.Stat(iso); err != nil {
		return l, fmt.Errorf("%w: run `make iso`", err)
	}
	m, err := lab.Add(ctx, vm.MachineConfig{Name: serverName, CPUs: cpus, Memory: serverMemory, UserData: userData, Blank: true, Medium: iso})
	if err != nil {
		return l, err
	}
	if l.Install, err = measureInstall(ctx, m); err != nil {
		return l, err
	}
	l.Upgrade, err = measureUpgrade(ctx, m)
	l.Upgrade.Bytes = files.bytes.Load()
	return l, err
}

// measureInstall switches a machine with an empty disk on, and takes the medium away once the disk is written.
func measureInstall(ctx context.Context, m *vm.Machine) (i Install, err error) {
	say("install %s from the ISO image", m.Name())
	began := time.Now()
	if err := m.PowerOn(ctx); err != nil {
		return i, err
	}
	if _, err := m.WaitConsole(ctx, installTimeout, saysReading); err != nil {
		return i, err
	}
	live := m.Boots()
	m.RemoveMedium()
	err = vm.Wait(ctx, m.Name()+" to boot what was installed", installTimeout, func(context.Context) error {
		if m.Boots() == live {
			return fmt.Errorf("its console ends with %q", m.Console().Last().Text)
		}
		return nil
	})
	if err != nil {
		return i, err
	}
	line, ok := m.Consoles()[live-1].Find(saysInstalled)
	if !ok {
		return i, fmt.Errorf("its console doesn't say %q", saysInstalled)
	}
	if i.Write, err = strconv.ParseFloat(saysInstalled.FindStringSubmatch(line.Text)[1], 64); err != nil {
		return i, err
	}
	if _, err := m.WaitServer(ctx); err != nil {
		return i, err
	}
	i.Ready = time.Since(began).Seconds()
	return i, nil
}

// measureUpgrade reboots a server, upgrades it, and reboots it again.
func measureUpgrade(ctx context.Context, m *vm.Machine) (u Upgrade, err error) {
	c, err := m.WaitServer(ctx)
	if err != nil {
		return u, err
	}
	if _, err := c.WaitPods(ctx, "kube-system", "", addonPods); err != nil {
		return u, err
	}
	say("reboot it")
	if u.Reboot, err = readyAfterReboot(ctx, m, c); err != nil {
		return u, err
	}
	if _, err := c.WaitPods(ctx, "kube-system", "", addonPods); err != nil {
		return u, err
	}
	say("upgrade it")
	began := time.Now()
	if _, err := m.Run(ctx, "sudo skerry upgrade apply"); err != nil {
		return u, err
	}
	u.Apply = time.Since(began).Seconds()
	say("reboot into the new version")
	if u.Downtime, err = readyAfterReboot(ctx, m, c); err != nil {
		return u, err
	}
	version, err := m.Run(ctx, ". /usr/lib/os-release && echo $IMAGE_VERSION")
	if err == nil && strings.TrimSpace(version) != laterVersion {
		err = fmt.Errorf("%s runs %s after its upgrade, want %s", m.Name(), strings.TrimSpace(version), laterVersion)
	}
	return u, err
}

// readyAfterReboot returns the seconds from the command to reboot until the kubelet of the next boot has said that its node is
// Ready: the API may tell what the one before said.
func readyAfterReboot(ctx context.Context, m *vm.Machine, c *vm.Cluster) (float64, error) {
	before, err := m.BootID(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := m.Reboot(ctx); err != nil {
		return 0, err
	}
	err = vm.Wait(ctx, m.Name()+" to be Ready after its reboot", vm.ReadyTimeout, func(ctx context.Context) error {
		node, err := c.CoreV1().Nodes().Get(ctx, m.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node.Status.NodeInfo.BootID == before {
			return errors.New("its kubelet has not spoken since")
		}
		return c.AreReady(ctx, m.Name())
	})
	return time.Since(began).Seconds(), err
}

// servedFiles are a web server's files, which count what of them has been sent.
type servedFiles struct {
	files http.Handler
	bytes atomic.Int64
}

func (s *servedFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.files.ServeHTTP(&counted{w, &s.bytes}, r)
}

type counted struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (l Lifecycle) print(t io.Writer) {
	fmt.Fprintf(t, "\nINSTALL from the ISO image\tseconds\n")
	fmt.Fprintf(t, "write and read back\t%.0f\n", l.Install.Write)
	fmt.Fprintf(t, "power-on with an empty disk to node Ready\t%.1f\n", l.Install.Ready)
	fmt.Fprintf(t, "\nUPGRADE\tseconds\n")
	fmt.Fprintf(t, "fetch %.1f MiB, write and read back\t%.1f\n", float64(l.Upgrade.Bytes)/mib, l.Upgrade.Apply)
	fmt.Fprintf(t, "downtime: the reboot into it, to node Ready\t%.1f\n", l.Upgrade.Downtime)
	fmt.Fprintf(t, "another reboot, to node Ready\t%.1f\n", l.Upgrade.Reboot)
	fmt.Fprintf(t, "downtime to another reboot's\t%.2f\n", l.Upgrade.Downtime/l.Upgrade.Reboot)
}
