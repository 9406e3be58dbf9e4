// SPDX-License-Identifier: Apache-2.0

package nodeupgrade

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// fakeMachine answers from what it is told to, and keeps what it was asked.
type fakeMachine struct {
	status Status
	offer  Offer
	checks []error // of one Check after the other
	apply  error
	asked  []string
}

func (m *fakeMachine) Status(context.Context) (Status, error) { return m.status, nil }

func (m *fakeMachine) Check(_ context.Context, source string) (Offer, error) {
	m.asked = append(m.asked, "check "+source)
	if len(m.checks) > 0 {
		err := m.checks[0]
		m.checks = m.checks[1:]
		return Offer{}, err
	}
	return m.offer, nil
}

func (m *fakeMachine) Apply(_ context.Context, source, version string) error {
	m.asked = append(m.asked, "apply "+version+" "+source)
	return m.apply
}

func (m *fakeMachine) Reboot(context.Context) error {
	m.asked = append(m.asked, "reboot")
	return nil
}

type bench struct {
	*service
	t       *testing.T
	client  *fake.Clientset
	machine *fakeMachine
}

func newBench(t *testing.T) *bench {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}})
	m := &fakeMachine{status: Status{Running: older}, offer: Offer{Version: newer, Kubernetes: "v1.38.0"}}
	return &bench{
		service: &service{Options: Options{Client: client, Node: "node-1", Boot: earlier, Machine: m, Log: slog.New(slog.DiscardHandler)}},
		t:       t, client: client, machine: m,
	}
}

func (b *bench) ask(r any) {
	b.t.Helper()
	patch, err := Patch(RequestAnnotation, r)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.client.CoreV1().Nodes().Patch(b.t.Context(), "node-1", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// told returns the report after one look.
func (b *bench) told() Report {
	b.t.Helper()
	if _, err := b.look(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return b.reported()
}

func (b *bench) reported() Report {
	b.t.Helper()
	node, err := b.client.CoreV1().Nodes().Get(b.t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := ReportOf(node)
	if err != nil || r == nil {
		b.t.Fatalf("report %v, %v", r, err)
	}
	return *r
}

func TestWholeUpgrade(t *testing.T) {
	b := newBench(t)
	if got := b.told(); got != (Report{Running: older}) {
		t.Errorf("unasked it tells %+v", got)
	}
	b.ask(Request{ID: "a", Step: Check, Version: newer, Source: "https://x/"})
	if got := b.told(); got.State != Checked || got.Kubernetes != "v1.38.0" {
		t.Errorf("after the check: %+v", got)
	}
	b.ask(Request{ID: "a", Step: Apply, Version: newer, Source: "https://x/"})
	if got := b.told(); got.State != Rebooting || got.Boot != earlier {
		t.Errorf("after applying: %+v", got)
	}
	b.told()
	if want := []string{"check https://x/", "apply 0.2.0 https://x/", "reboot"}; !slices.Equal(b.machine.asked, want) {
		t.Errorf("the machine was asked %q, want %q", b.machine.asked, want)
	}
	b.Boot = thisBoot
	b.machine.status = Status{Running: newer, OnTrial: true}
	if got := b.told(); got.State != Trial || !got.OnTrial {
		t.Errorf("after the reboot: %+v", got)
	}
	b.machine.status.OnTrial = false
	if got := b.told(); got.State != Upgraded || got.Running != newer {
		t.Errorf("at the end: %+v", got)
	}
	if n := len(b.machine.asked); n != 3 {
		t.Errorf("it did more after the reboot: %q", b.machine.asked)
	}
	b.ask(nil)
	if got := b.told(); got.State != Upgraded {
		t.Errorf("the last report is gone with the request: %+v", got)
	}
}

func TestCheck(t *testing.T) {
	away := errors.New("connection refused")
	for name, tt := range map[string]struct {
		checks  []error
		version string
		want    State
		asked   int
	}{
		"there":          {version: newer, want: Checked, asked: 1},
		"away a moment":  {checks: []error{away, away}, version: newer, want: Checked, asked: 3},
		"away":           {checks: []error{away, away, away}, version: newer, want: Failed, asked: 3},
		"something else": {version: "0.3.0", want: Failed, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.machine.checks, b.machine.offer.Version = tt.checks, tt.version
			b.ask(Request{ID: "a", Step: Check, Version: newer, Source: "https://x/"})
			got := b.told()
			if got.State != tt.want || len(b.machine.asked) != tt.asked {
				t.Errorf("%s after %d questions, want %s after %d", got.State, len(b.machine.asked), tt.want, tt.asked)
			}
			if tt.want == Failed && got.Message == "" {
				t.Error("it doesn't say why")
			}
		})
	}
}

func TestApplyFails(t *testing.T) {
	b := newBench(t)
	b.machine.apply = errors.New("the payload is not signed by a key that this machine trusts")
	b.ask(Request{ID: "a", Step: Apply, Version: newer, Source: "https://x/"})
	if got := b.told(); got.State != Failed || !strings.Contains(got.Message, "not signed") {
		t.Errorf("told %+v", got)
	}
	b.told()
	if len(b.machine.asked) != 1 {
		t.Errorf("it tries again by itself: %q", b.machine.asked)
	}
}

// TestToldBeforeDone holds that nothing is done which the Node doesn't tell of: it would be done again after a restart.
func TestToldBeforeDone(t *testing.T) {
	b := newBench(t)
	b.ask(Request{ID: "a", Step: Apply, Version: newer, Source: "https://x/"})
	b.client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API is away")
	})
	if _, err := b.look(t.Context()); err == nil || len(b.machine.asked) > 0 {
		t.Errorf("error %v, and the machine was asked %q", err, b.machine.asked)
	}
}

func TestBadRequest(t *testing.T) {
	for _, text := range []string{`{`, `{}`, `{"id":"a","version":"1","source":"x"}`, `{"id":"a","version":"1","source":"x","step":"erase"}`} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{RequestAnnotation: text}}}
		if r, err := RequestOf(node); err == nil {
			t.Errorf("%s is taken for %+v", text, r)
		}
	}
}

// TestRun has the whole service answer a request that comes while it runs.
func TestRun(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Run(ctx, b.Options) }()
	wait := func(what string, is func(Report) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			node, err := b.client.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if r, err := ReportOf(node); err == nil && r != nil && is(*r) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s: %v", what, node.Annotations)
			}
		}
	}
	wait("a first report", func(r Report) bool { return r.Running == older })
	b.ask(Request{ID: "a", Step: Check, Version: newer, Source: "https://x/"})
	wait("an answer", func(r Report) bool { return r.State == Checked })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
