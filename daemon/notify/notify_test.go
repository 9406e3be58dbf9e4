// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNotifierOwnsTheSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv(socketVariable, socket)

	n, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	if _, set := os.LookupEnv(socketVariable); set {
		t.Error("the socket is still in the environment: the kubelet would say READY=1 itself")
	}
	if err := n.Status("joining"); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"STATUS=joining", "READY=1"} {
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		length, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:length]); got != want {
			t.Errorf("systemd was told %q, want %q", got, want)
		}
	}
	if _, set := os.LookupEnv(socketVariable); set {
		t.Error("the socket came back into the environment")
	}
}

func TestNotifierWithoutServiceManager(t *testing.T) {
	t.Setenv(socketVariable, "")
	n, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err != nil {
		t.Errorf("Ready() = %v by hand, want nothing to happen", err)
	}
}
