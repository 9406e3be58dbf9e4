// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// guest is what a host has in guestinfo.
type guest map[string]string

func (g guest) get(_ context.Context, key string) (string, error) { return g[key], nil }

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func TestGuestInfo(t *testing.T) {
	const meta = "instance-id: i-1\nlocal-hostname: a\n"
	for _, test := range []struct {
		name  string
		guest guest
		err   string
		want  Document
	}{
		{name: "plain", guest: guest{"guestinfo.userdata": cloudConfig, "guestinfo.metadata": meta},
			want: Document{InstanceID: "i-1", LocalHostname: "a"}},
		{name: "base64", guest: guest{"guestinfo.userdata": b64(cloudConfig), "guestinfo.userdata.encoding": "base64\n"}},
		{name: "b64 in lines", guest: guest{"guestinfo.userdata": b64(cloudConfig)[:8] + "\n" + b64(cloudConfig)[8:], "guestinfo.userdata.encoding": "b64"}},
		{name: "gzip+base64", guest: guest{"guestinfo.userdata": b64(packed(cloudConfig)), "guestinfo.userdata.encoding": "gzip+base64",
			"guestinfo.vendordata": b64("v"), "guestinfo.vendordata.encoding": "base64"}, want: Document{VendorData: []byte("v")}},
		{name: "gz+b64", guest: guest{"guestinfo.userdata": b64(packed(cloudConfig)), "guestinfo.userdata.encoding": "gz+b64"}},
		{name: "packed but not said so", guest: guest{"guestinfo.userdata": b64(packed(cloudConfig)), "guestinfo.userdata.encoding": "base64"}},
		{name: "JSON and a network", guest: guest{"guestinfo.userdata": cloudConfig,
			"guestinfo.metadata": `{"instance-id": "i-1", "local-hostname": "a", "network": {"version": 2}}`},
			want: Document{InstanceID: "i-1", LocalHostname: "a", NetworkConfig: []byte("{\"version\": 2}\n"), NetworkConfigKind: CloudInitNetwork}},
		{name: "an encoded network", guest: guest{"guestinfo.userdata": cloudConfig,
			"guestinfo.metadata": meta + "network: " + b64(packed("version: 2\n")) + "\nnetwork.encoding: gzip+base64\n"},
			want: Document{InstanceID: "i-1", LocalHostname: "a", NetworkConfig: []byte("version: 2\n"), NetworkConfigKind: CloudInitNetwork}},
		{name: "nothing", guest: guest{}, err: ErrAbsent.Error()},
		{name: "used up", guest: guest{"guestinfo.userdata": "---"}, err: ErrAbsent.Error()},
		{name: "odd encoding", guest: guest{"guestinfo.userdata": "x", "guestinfo.userdata.encoding": "rot13"}, err: `decode guestinfo.userdata: unknown encoding "rot13"`},
		{name: "not base64", guest: guest{"guestinfo.userdata": "#cloud-config", "guestinfo.userdata.encoding": "base64"}, err: "is not valid base64"},
		{name: "not packed", guest: guest{"guestinfo.userdata": b64("x"), "guestinfo.userdata.encoding": "gz+b64"}, err: "is not compressed"},
		{name: "a bomb", guest: guest{"guestinfo.metadata": b64(packed(strings.Repeat("#", maxMetaData+1))), "guestinfo.metadata.encoding": "gz+b64"}, err: "larger than"},
		{name: "a list for a network", guest: guest{"guestinfo.userdata": "x", "guestinfo.metadata": "network: [1]\n"}, err: "neither a mapping nor"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := (&GuestInfo{Get: test.guest.get, Log: quiet}).Fetch(t.Context())
			test.want.UserData = []byte(cloudConfig)
			check(t, got, err, test.err, test.want)
		})
	}
}

// TestGuestInfoOfNobody: somebody who has set guestinfo must read why it is not
// there, and the machine goes on to its other media.
func TestGuestInfoOfNobody(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, want := range []string{"vmware-rpctool is not installed", "exit status 1: Permission denied"} {
		var console bytes.Buffer
		_, err := NewGuestInfo(slog.New(slog.NewTextHandler(&console, nil))).Fetch(t.Context())
		if !errors.Is(err, ErrAbsent) || !strings.Contains(console.String(), want) {
			t.Errorf("got %v, the console says %q, want %q", err, console.String(), want)
		}
		program(t, dir, "echo 'Permission denied' >&2; exit 1\n")
	}
}

func program(t *testing.T, dir, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, guestProgram), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestGuestProgram(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	program(t, dir, `case "$1" in
"info-get guestinfo.userdata") printf 'text' ;;
*) echo 'No value found' >&2; exit 1 ;;
esac
`)
	for key, want := range map[string]string{"guestinfo.userdata": "text", "guestinfo.metadata": ""} {
		if got, err := guestVariable(t.Context(), key); err != nil || got != want {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
	}
}

func FuzzGuestInfo(f *testing.F) {
	f.Add(cloudConfig, "", "network: {version: 2}\n")
	f.Add(b64(cloudConfig), "base64", "network: dmVyc2lvbjogMg==\nnetwork.encoding: b64\n")
	f.Add(b64(packed(cloudConfig)), "gzip+base64", "instance-id: [")
	f.Fuzz(func(t *testing.T, value, encoding, meta string) {
		g := guest{"guestinfo.userdata": value, "guestinfo.userdata.encoding": encoding, "guestinfo.metadata": meta}
		got, err := (&GuestInfo{Get: g.get, Log: quiet}).Fetch(t.Context())
		if (got == nil) == (err == nil) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}
