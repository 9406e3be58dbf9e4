// SPDX-License-Identifier: Apache-2.0

package control

import (
	"net"
	"testing"
)

func TestAdvertisedListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := (advertisedListener{Listener: l, port: 6443}).Addr().String(); got != "127.0.0.1:6443" {
		t.Errorf("Addr() = %s, want the advertised port", got)
	}
}
