// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/include"
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
	missing := medium{err: fmt.Errorf("ask the server: %w: it says 404", source.ErrMissing)}
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
		{name: "nothing there, copy", network: missing, kept: kept, hostname: "kept", from: "state"},
		{name: "nothing there, no copy", network: missing, err: "not given: it says 404"},
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

// web is a network that is up or not.
type web struct {
	up   bool
	text string
}

func (w *web) Fetch(context.Context, string, string) ([]byte, error) {
	if !w.up {
		return nil, source.ErrNoAnswer
	}
	return []byte(w.text), nil
}

// TestIncludesNeedTheNetwork: what is included and not here is left to the
// network, and until then the network is what is known of it.
func TestIncludesNeedTheNetwork(t *testing.T) {
	const (
		parts  = "- |\n  #include\n  https://h/x\n"
		theirs = "version: 2\nethernets: {theirs: {dhcp4: true}}\n"
	)
	for _, test := range []struct{ name, config, network, first string }{
		{name: "nothing known"},
		{name: "of the source", network: theirs, first: "theirs"},
		{name: "own", config: "skerry: {role: agent, network: {ethernets: {own: {dhcp4: true}}}}", network: theirs, first: "own"},
		{name: "own is wrong", config: "skerry: {network: {ethernets: {own: {dhcp5: true}}}}", network: theirs, first: "theirs"},
		{name: "tunnels come later", config: "skerry: {network: {tunnels: {wg0: {mode: wireguard, key: /UTdQPQ9UsNn/kEPBZuwGR5tECbIdm4dpTtRu5fKSEs=}}}}", first: "nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := user("#cloud-config-archive\n- |\n  #cloud-config\n  " + test.config + "\n" + parts)
			if test.network != "" {
				m.document.NetworkConfig = []byte(test.network)
			}
			l := loader(t, m)
			w := &web{text: "#cloud-config\nhostname: included\nskerry: {role: server, network: {ethernets: {}, tunnels: {}}}\n"}
			copies := &include.Kept{Fetcher: w, Dir: t.TempDir(), Log: quiet}
			l.Around.Fetcher, l.Around.AtHand = copies, copies.AtHand()
			if _, err := l.Local(t.Context()); !errors.Is(err, ErrNetwork) || !strings.Contains(err.Error(), "the medium includes https://h/x") {
				t.Fatalf("without the network: %v", err)
			}
			network, problems := l.Interim()
			first := ""
			if network != nil {
				first = "nothing"
				if list := network.Interfaces(); len(list) > 0 {
					first = list[0].Name
				}
			}
			if first != test.first || len(problems) > 0 {
				t.Errorf("meanwhile the network is %q, %v; want %q", first, problems, test.first)
			}
			if _, err := l.Network(t.Context()); !errors.Is(err, source.ErrNoAnswer) {
				t.Errorf("server is down: %v", err)
			}
			w.up = true
			loaded, err := l.Network(t.Context())
			if test.name == "own is wrong" {
				if err == nil || !strings.Contains(err.Error(), "dhcp5") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || loaded.Hostname != "included" {
				t.Errorf("got %+v, %v", loaded, err)
			}
		})
	}
}

// TestPinnedIncludeAtHand: a copy that the digest proves needs no network.
func TestPinnedIncludeAtHand(t *testing.T) {
	const text = "#cloud-config\nhostname: included\n"
	sum := sha256.Sum256([]byte(text))
	l := loader(t, user("#include\nhttps://h/x#sha256="+hex.EncodeToString(sum[:])+"\n"))
	w := &web{up: true, text: text}
	copies := &include.Kept{Fetcher: w, Dir: t.TempDir(), Log: quiet}
	l.Around.Fetcher, l.Around.AtHand = copies, copies.AtHand()
	if _, err := l.Local(t.Context()); !errors.Is(err, ErrNetwork) {
		t.Fatalf("first boot: %v", err)
	}
	if _, err := l.Network(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.up = false
	if loaded, err := l.Local(t.Context()); err != nil || loaded.Hostname != "included" {
		t.Errorf("second boot: %+v, %v", loaded, err)
	}
}

// TestNetworkOfAnotherSource: a medium may have the network only, and something
// on that network the rest.
func TestNetworkOfAnotherSource(t *testing.T) {
	for name, wrong := range map[string]string{"right": "", "wrong": "5"} {
		t.Run(name, func(t *testing.T) {
			m := medium{document: &source.Document{Source: "medium", Name: "the medium", InstanceID: "i-1",
				NetworkConfig: []byte("version: 2\nethernets: {theirs: {dhcp" + cmp.Or(wrong, "4") + ": true}}\n")}}
			l := loader(t, m)
			l.Sources.Network = cloud("#cloud-config\n", "i-1")
			if _, err := l.Local(t.Context()); !errors.Is(err, ErrNetwork) {
				t.Fatal(err)
			}
			network, problems := l.Interim()
			if (network == nil) != (wrong != "") || (len(problems) == 0) != (wrong == "") {
				t.Errorf("before: %v, %v", network, problems)
			}
			loaded, err := l.Network(t.Context())
			if wrong != "" {
				if err == nil || !strings.Contains(err.Error(), "dhcp5") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || loaded.Network == nil || loaded.Network.Ethernets[0].Name != "theirs" {
				t.Errorf("got %+v, %v", loaded, err)
			}
		})
	}
}
