// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/skerry-os/skerry/daemon/notify"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/status"
)

// medium is a source with one document.
type medium struct{ userData string }

func (medium) Name() string { return "test" }

func (m medium) Fetch(context.Context) (*source.Document, error) {
	return &source.Document{Source: "test", Name: "test", UserData: []byte(m.userData), InstanceID: "i-1"}, nil
}

// media are the sources of a machine without a network.
func media(t *testing.T, local ...source.Source) func() (*source.Set, error) {
	t.Helper()
	kept := &source.State{Dir: t.TempDir()}
	return func() (*source.Set, error) { return &source.Set{Local: local, Kept: kept}, nil }
}

// noUnits is a systemd that must not be asked to start anything.
type noUnits struct{ t *testing.T }

func (n noUnits) StartUnitContext(_ context.Context, name, _ string, _ chan<- string) (int, error) {
	n.t.Errorf("%s was started", name)
	return 0, nil
}

func (n noUnits) RestartUnitContext(_ context.Context, name, _ string, _ chan<- string) (int, error) {
	n.t.Errorf("%s was restarted", name)
	return 0, nil
}

func (noUnits) SetUnitPropertiesContext(context.Context, string, bool, ...dbus.Property) error {
	return errors.ErrUnsupported
}

func (noUnits) GetUnitPropertyContext(context.Context, string, string) (*dbus.Property, error) {
	return nil, errors.ErrUnsupported
}

func (noUnits) GetServicePropertyContext(context.Context, string, string) (*dbus.Property, error) {
	return nil, errors.ErrUnsupported
}

// TestBootThatFailsSaysWhy boots without any configuration: a person at the
// console must read what is missing, not only that a phase failed.
func TestBootThatFailsSaysWhy(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	notifier, err := notify.Take()
	if err != nil {
		t.Fatal(err)
	}
	var console syncBuffer
	b := &Boot{
		Units:        noUnits{t},
		Notifier:     notifier,
		Sources:      media(t),
		StatusSocket: filepath.Join(t.TempDir(), "status.sock"),
		Log:          slog.New(slog.NewTextHandler(&console, nil)),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	const want = "no cloud-config was found"
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(console.String(), want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the console does not say %q:\n%s", want, console.String())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// TestInvalidConfigStartsNothing boots with a key that does not exist: the
// daemon names it on the console and in its status, applies nothing (Machine is
// nil: it would panic), starts nothing, and stays to be asked.
func TestInvalidConfigStartsNothing(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	notifier, err := notify.Take()
	if err != nil {
		t.Fatal(err)
	}
	var console syncBuffer
	b := &Boot{
		Units:        noUnits{t},
		Notifier:     notifier,
		Sources:      media(t, medium{"#cloud-config\nhostname: a\nskerry:\n  cluster:\n    tokn: x\n"}),
		StatusSocket: filepath.Join(t.TempDir(), "status.sock"),
		Log:          slog.New(slog.NewTextHandler(&console, nil)),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()

	var m status.Machine
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if m, err = status.Get[status.Machine](ctx, b.StatusSocket); err == nil && m.Phases[0].State == phase.Failed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the boot did not fail: %v, %+v", err, m)
		}
	}
	if m.Ready {
		t.Error("status says Ready")
	}
	if len(m.Problems) != 1 || !strings.Contains(m.Problems[0], "user-data:5:5") || !strings.Contains(m.Problems[0], "token") {
		t.Errorf("status names %q, want file, line, column and the key that was meant", m.Problems)
	}
	if !strings.Contains(console.String(), "user-data:5:5: skerry.cluster.tokn: unknown key") {
		t.Errorf("the console does not name the problem:\n%s", console.String())
	}
	for _, p := range m.Phases[1:] {
		if p.State != phase.Pending {
			t.Errorf("phase %s is %s after a refused config", p.Name, p.State)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("the daemon ended (%v): nobody could ask it what is wrong", err)
	default:
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
