// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
)

// cloud is a source of the network, with or without user-data.
func cloud(userData, instanceID string, keys ...string) medium {
	d := &source.Document{Source: "cloud", Name: "the cloud", InstanceID: instanceID, LocalHostname: "named-by-cloud", PublicKeys: keys}
	if userData != "" {
		d.UserData = []byte(userData)
	}
	return medium{document: d}
}

func TestNetwork(t *testing.T) {
	kept := &source.Document{UserData: []byte("#cloud-config\nhostname: kept\n"), MetaData: []byte("instance-id: i-old\n")}
	silent := medium{err: fmt.Errorf("ask cloud: %w within 2m0s", source.ErrNoAnswer)}
	for _, test := range []struct {
		name           string
		local          source.Source
		network        source.Source
		kept           *source.Document
		hostname, from string
		instance       string
		err            string
	}{
		{name: "fresh machine", network: cloud("#cloud-config\nhostname: a\n", "i-1"), hostname: "a", from: "cloud", instance: "i-1"},
		{name: "the copy is no medium", network: cloud("#cloud-config\nhostname: a\n", "i-1"), kept: kept, hostname: "a", from: "cloud", instance: "i-1"},
		{name: "no answer, copy", network: silent, kept: kept, hostname: "kept", from: "state"},
		{name: "no answer, no copy", network: silent, err: "no answer within"},
		{name: "wrong answer, copy", network: medium{err: errors.New("digest")}, kept: kept, err: "digest"},
		{name: "invalid, copy", network: cloud("#cloud-config\nhostnme: a\n", "i-1"), kept: kept, err: "unknown key"},
		{name: "no user-data, copy", network: cloud("", "i-2"), kept: kept, hostname: "kept", from: "state", instance: "i-2"},
		{name: "no user-data, no copy", network: cloud("", "i-2"), err: "the cloud knows this machine, but has no user-data"},
		{name: "absent, copy", network: medium{err: source.ErrAbsent}, kept: kept, hostname: "kept", from: "state"},
		{name: "medium without user-data", local: cloud("", "i-3"), network: cloud("#cloud-config\nhostname: a\n", "i-1"), hostname: "a", from: "cloud", instance: "i-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := loader(t)
			if test.local != nil {
				l.Sources.Local = []source.Source{test.local}
			}
			l.Sources.Network = test.network
			if test.kept != nil {
				if err := l.Sources.Kept.Keep(test.kept); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.Local(t.Context()); !errors.Is(err, ErrNetwork) {
				t.Fatalf("media: got %v", err)
			}
			loaded, err := l.Network(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if loaded.Hostname != test.hostname || loaded.Document.Source != test.from || loaded.InstanceID != test.instance {
				t.Errorf("got %q from %s, instance %q", loaded.Hostname, loaded.Document.Source, loaded.InstanceID)
			}
		})
	}
}

// TestMediumComesBeforeNetwork: a cloud is not asked when a medium has a
// document.
func TestMediumComesBeforeNetwork(t *testing.T) {
	l := loader(t, user("#cloud-config\nhostname: a\n"))
	l.Sources.Network = medium{err: errors.New("was asked")}
	if loaded, err := l.Local(t.Context()); err != nil || loaded.Hostname != "a" {
		t.Errorf("got %+v, %v", loaded, err)
	}
}

const (
	key1 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl one"
	key2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl two"
)

func TestKeysOfTheCloud(t *testing.T) {
	for _, test := range []struct {
		name, userData string
		keys           []string
		want           string
	}{
		{name: "default user", keys: []string{key1}, want: "skerry:" + key1},
		{name: "beside its own", userData: "ssh_authorized_keys: ['" + key1 + "']\n", keys: []string{key1, key2}, want: "skerry:" + key1 + "," + key2},
		{name: "listed", userData: "users: [default, {name: ops}]\n", keys: []string{key1}, want: "skerry:" + key1 + " ops:"},
		{name: "not listed", userData: "users: [{name: ops}]\n", keys: []string{key1}, want: "ops:"},
		{name: "no key", keys: []string{"rubbish", "ssh-dss AAAA x", key1}, want: "skerry:" + key1},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := user("#cloud-config\n" + test.userData)
			m.document.PublicKeys = test.keys
			loaded, err := loader(t, m).Local(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, u := range loaded.Config.AllUsers() {
				got = append(got, u.Name+":"+joined(u.SSHAuthorizedKeys))
			}
			if text := strings.Join(got, " "); text != test.want {
				t.Errorf("got %q, want %q", text, test.want)
			}
		})
	}
}

func joined(keys []configschema.AuthorizedKey) string {
	var text []string
	for _, key := range keys {
		text = append(text, string(key))
	}
	return strings.Join(text, ",")
}
