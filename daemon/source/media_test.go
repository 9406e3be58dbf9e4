// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/tests/metadata"
)

// check compares what the media agree on.
func check(t *testing.T, got *Document, err error, wantErr string, want Document) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("got %v, want an error with %q", err, wantErr)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.UserData, want.UserData) || got.InstanceID != want.InstanceID || got.LocalHostname != want.LocalHostname ||
		!bytes.Equal(got.NetworkConfig, want.NetworkConfig) || got.NetworkConfigKind != want.NetworkConfigKind ||
		!bytes.Equal(got.VendorData, want.VendorData) {
		t.Errorf("got %+v", got)
	}
}

func TestCredentials(t *testing.T) {
	for _, test := range []struct {
		name   string
		files  map[string]string
		err    string
		warned bool
		want   Document
	}{
		{name: "all", files: map[string]string{
			"skerry.user-data": cloudConfig, "skerry.meta-data": "instance-id: 0123\n", "skerry.network-config": "version: 2\n", "skerry.vendor-data": "v", "other": "x",
		}, want: Document{InstanceID: "0123", NetworkConfig: []byte("version: 2\n"), NetworkConfigKind: CloudInitNetwork, VendorData: []byte("v")}},
		{name: "user-data", files: map[string]string{"skerry.user-data": cloudConfig}},
		{name: "others", files: map[string]string{"cloud-init.user-data": cloudConfig, "user-data": "x"}, err: ErrAbsent.Error()},
		{name: "no user-data", files: map[string]string{"skerry.meta-data": "{}"}, err: ErrAbsent.Error(), warned: true},
		{name: "too large", files: map[string]string{"skerry.user-data": "#", "skerry.meta-data": strings.Repeat("#", maxMetaData+1)}, err: "larger than 1 MiB"},
		{name: "bad meta-data", files: map[string]string{"skerry.user-data": "#", "skerry.meta-data": "instance-id: [1]\n"}, err: "is not a single value"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range test.files {
				write(t, filepath.Join(dir, name), content)
			}
			var console bytes.Buffer
			got, err := (&Credentials{Dirs: []string{filepath.Join(dir, "none"), dir}, Log: slog.New(slog.NewTextHandler(&console, nil))}).Fetch(t.Context())
			test.want.UserData = []byte(cloudConfig)
			check(t, got, err, test.err, test.want)
			if (console.Len() > 0) != test.warned {
				t.Errorf("the console says %q", console.String())
			}
		})
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/skerry.service")
	if c := NewCredentials(quiet); len(c.Dirs) != 2 || c.Dirs[0] != "/run/credentials/skerry.service" || c.Dirs[1] != systemCredentials {
		t.Errorf("looks in %s", c.Dirs)
	}
}

func TestFwCfg(t *testing.T) {
	n := volume(t, "", nil)
	f := &FwCfg{Dir: filepath.Join(t.TempDir(), "org.skerry"), Volumes: n.Volumes}
	if _, err := f.Fetch(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("another machine: %v", err)
	}
	// The driver is loaded while udev is at work.
	write(t, n.Volumes.Queue, "")
	time.AfterFunc(100*time.Millisecond, func() {
		for name, content := range map[string]string{"user-data": packed(cloudConfig), "meta-data": "instance-id: i-1\n"} {
			_ = os.MkdirAll(filepath.Join(f.Dir, name), 0o755)
			_ = os.WriteFile(filepath.Join(f.Dir, name, "raw"), []byte(content), 0o600)
		}
		_ = os.Remove(n.Volumes.Queue)
	})
	got, err := f.Fetch(t.Context())
	check(t, got, err, "", Document{UserData: []byte(cloudConfig), InstanceID: "i-1"})
}

func TestConfigDrive(t *testing.T) {
	nova := &metadata.OpenStack{Machine: with(func(m *metadata.Machine) { m.Network = `{"links": []}` })}
	empty := &metadata.OpenStack{Machine: with(withoutUserData)}
	full := Document{
		UserData: []byte(cloudConfig), InstanceID: "4711", LocalHostname: "node-1.example.internal",
		NetworkConfig: []byte(`{"links": []}`), NetworkConfigKind: OpenStackNetwork, VendorData: []byte(plain.VendorData),
	}
	bare := full
	bare.UserData, bare.NetworkConfig, bare.NetworkConfigKind = nil, nil, ""
	for _, test := range []struct {
		name, label string
		files       map[string]string
		err         string
		want        Document
	}{
		{name: "complete", label: "config-2", files: nova.Files(), want: full},
		{name: "capitals", label: "CONFIG-2", files: nova.Files(), want: full},
		{name: "without user-data", label: "config-2", files: empty.Files(), want: bare},
		{name: "another volume", label: "cidata", files: nova.Files(), err: ErrAbsent.Error()},
		{name: "another drive", label: "config-2", files: map[string]string{"../../cloudstack": ""}, err: "has no folder openstack/latest"},
		{name: "no meta-data", label: "config-2", files: map[string]string{"user_data": "x"}, err: "has no meta_data.json"},
		{name: "invalid", label: "config-2", files: map[string]string{"meta_data.json": "{"}, err: "meta_data.json is not valid"},
		{name: "nobody's", label: "config-2", files: map[string]string{"meta_data.json": "{}"}, err: "says no instance-id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{}
			for name, content := range test.files {
				if content != "" || strings.HasPrefix(name, "..") {
					files[filepath.Join("openstack/latest", name)] = content
				}
			}
			n := volume(t, test.label, files)
			got, err := (&ConfigDrive{Volumes: n.Volumes}).Fetch(t.Context())
			check(t, got, err, test.err, test.want)
			if left, _ := os.ReadDir(n.Volumes.Run); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestOneWaitForAll: a config drive ends the wait for a NoCloud volume too.
func TestOneWaitForAll(t *testing.T) {
	n := volume(t, "config-2", map[string]string{"openstack/latest/meta_data.json": "{}"})
	n.Volumes.Linger = time.Hour
	n.Volumes.Settle = time.Hour
	if _, err := n.Fetch(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("got %v", err)
	}
}

// TestGiven: what the kernel command line says of the machine wins, also in the
// copy.
func TestGiven(t *testing.T) {
	n := volume(t, "cidata", map[string]string{"user-data": cloudConfig, "meta-data": "instance-id: i-1\nlocal-hostname: b\npublic-keys: {k: [" + keyA + "]}\n"})
	n.Given = Given{InstanceID: "i-2"}
	got, err := n.Fetch(t.Context())
	check(t, got, err, "", Document{UserData: []byte(cloudConfig), InstanceID: "i-2", LocalHostname: "b"})
	meta, err := parseMetaData(got.MetaData)
	if err != nil || meta.InstanceID != "i-2" || len(meta.PublicKeys) != 1 || meta.PublicKeys[0] != keyA {
		t.Errorf("meta-data %q, %v", got.MetaData, err)
	}
}

func TestOVF(t *testing.T) {
	env, err := os.ReadFile("testdata/ovf-env.xml")
	if err != nil {
		t.Fatal(err)
	}
	userDataOnly := strings.Replace(string(env), "CustomData", "Other", 2)
	nothing := strings.Replace(userDataOnly, "UserData", "Other", 2)
	want := Document{UserData: []byte(cloudConfig), InstanceID: "uuid", LocalHostname: "node-1.example.internal"}
	newer, none := want, want
	newer.UserData, none.UserData = []byte("#user-data\n"), nil
	for _, test := range []struct {
		name   string
		drives int
		files  map[string]string
		err    string
		want   Document
	}{
		{name: "custom data", drives: 1, files: map[string]string{"ovf-env.xml": string(env)}, want: want},
		{name: "user data", drives: 1, files: map[string]string{"OVF-ENV.XML": userDataOnly}, want: newer},
		{name: "neither", drives: 1, files: map[string]string{"ovf-env.xml": nothing}, want: none},
		{name: "no drive", err: ErrAbsent.Error()},
		{name: "another CD", drives: 1, files: map[string]string{"readme": "x"}, err: ErrAbsent.Error()},
		{name: "an empty file", drives: 1, files: map[string]string{"ovf-env.xml": ""}, err: "is empty"},
		{name: "half a file", drives: 1, files: map[string]string{"ovf-env.xml": string(env[:400])}, err: "ovf-env.xml is not valid"},
		{name: "not base64", drives: 1, files: map[string]string{"ovf-env.xml": strings.Replace(string(env), "I2Ns", "!!!!", 1)}, err: "CustomData: is not valid base64"},
		{name: "endless", drives: 1, files: map[string]string{"ovf-env.xml": strings.Repeat(" ", maxOVF+1)}, err: "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := volume(t, "some-cd", test.files)
			dir := t.TempDir()
			for i := range test.drives {
				write(t, filepath.Join(dir, "sr"+string(rune('0'+i))), "")
			}
			got, err := (&OVF{Devices: filepath.Join(dir, "sr*"), Volumes: n.Volumes, InstanceID: "uuid"}).Fetch(t.Context())
			check(t, got, err, test.err, test.want)
			if test.err == "" && (len(got.PublicKeys) != 1 || got.PublicKeys[0] != keyA) {
				t.Errorf("keys %q", got.PublicKeys)
			}
		})
	}
	// A drive without a CD can't be mounted.
	n := volume(t, "", nil)
	n.Volumes.Mount = func(string, string, ...string) (func() error, error) { return nil, errors.New("no medium found") }
	drive := filepath.Join(t.TempDir(), "sr0")
	write(t, drive, "")
	if _, err := (&OVF{Devices: drive, Volumes: n.Volumes}).Fetch(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("an empty drive: %v", err)
	}
}

func TestHostnameOfACloud(t *testing.T) {
	for given, want := range map[string]string{
		"node-1": "node-1", "Node_1": "node-1", "My Server #3": "my-server--3", "a.b.example.": "a.b.example", "": "", "---": "", "localhost": "",
		"localhost.localdomain": "", "ip-10-0-0-1.ec2.internal ip-10-0-0-1.example.org": "ip-10-0-0-1.ec2.internal",
		"vm." + strings.Repeat("a", 60) + ".internal": "vm", strings.Repeat("a", 80): strings.Repeat("a", 63), "münchen": "m-nchen", "日本": "",
	} {
		if got := hostname(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}
