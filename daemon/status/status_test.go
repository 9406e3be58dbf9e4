// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/phase"
)

func TestServeAndGet(t *testing.T) {
	want := Machine{Version: "1.2.3", Node: "server-1", Ready: true,
		Phases: []phase.Report{{Name: "early", State: phase.Done, Seconds: 1.5}}}
	socket := filepath.Join(t.TempDir(), "run", "status.sock")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, socket, func(context.Context) Machine { return want }) }()

	var got Machine
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got, err = Get[Machine](ctx, socket); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Get() = %+v, want %+v", got, want)
	}
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("socket has mode %o, want 600: it is root's", mode)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve() = %v after its context ended", err)
	}
}
