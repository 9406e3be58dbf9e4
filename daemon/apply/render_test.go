// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"flag"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestRegistries compares what is rendered with testdata/registries, file by
// file. (containerd's own parser was asked about these files once: it can't be
// linked here.)
func TestRegistries(t *testing.T) {
	m, _ := newMachine(t)
	mustApply(t, m, `
skerry:
  registries:
    mirrors:
      docker.io: {endpoint: ["https://mirror.example.org:5000", "http://10.0.0.9/v2/docker/"]}
      "*": {endpoint: "https://all.example.org"}
      "registry.example.org:5000": {}
    configs:
      "mirror.example.org:5000":
        auth: {username: puller, password: "hunter2\"\\"}
        tls: {ca_file: /etc/rancher/ca.pem, cert_file: /etc/rancher/c.pem, key_file: /etc/rancher/k.pem}
      docker.io: {auth: {auth: dTpw}}
      "10.0.0.9": {tls: {insecure_skip_verify: true}}
      all.example.org:443: {tls: {ca_file: /etc/rancher/all.pem}}
      ghcr.io: {auth: {identity_token: hunter2}}
`)
	got := map[string]string{}
	for _, dir := range []string{"/etc/rancher/k3s", "/run/skerry/containerd.d"} {
		err := filepath.WalkDir(m.path(dir), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				var data []byte
				data, err = os.ReadFile(path)
				name, _ := filepath.Rel(m.path(dir), path)
				got[strings.ReplaceAll(name, "/", "--")] = string(data)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		for name, text := range got {
			if err := os.WriteFile("testdata/registries/"+name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden, err := os.ReadDir("testdata/registries")
	if err != nil || len(golden) != len(got) {
		t.Errorf("%d files are rendered, %d are golden: %v", len(got), len(golden), err)
	}
	for _, entry := range golden {
		want, err := os.ReadFile("testdata/registries/" + entry.Name())
		if err != nil || got[entry.Name()] != string(want) {
			t.Errorf("%s (%v): got\n%s\nwant\n%s", entry.Name(), err, got[entry.Name()], want)
		}
	}
	for _, secret := range []string{registriesFile, registryAuthFile} {
		if info, err := os.Stat(m.path(secret)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", secret, info.Mode(), err)
		}
	}
	reboot(t, m)
	mustApply(t, m, "skerry: {registries: {mirrors: {docker.io: {endpoint: 'https://m'}}}}\n")
	if left, err := os.ReadDir(m.path(RegistryHostsDir)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	mustApply(t, m, "")
	for _, gone := range []string{registriesFile, registryAuthFile, RegistryHostsDir + "/docker.io"} {
		if _, err := os.Stat(m.path(gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
}

// TestMirrorsOnly: the last mirror takes the place of the registry, whatever that
// is called.
func TestMirrorsOnly(t *testing.T) {
	m, _ := newMachine(t)
	config := `
skerry:
  cluster: {disable-default-registry-endpoint: true}
  registries:
    mirrors:
      docker.io: {endpoint: ["https://one.example.org", "https://two.example.org/hub/"]}
      "*": {endpoint: "http://all.example.org:5000"}
      ghcr.io: {}
    configs:
      two.example.org: {tls: {ca_file: /etc/rancher/two.pem}}
      docker.io: {tls: {ca_file: /etc/rancher/hub.pem}}
`
	mustApply(t, m, config)
	for name, want := range map[string]string{
		"docker.io": "server = \"https://two.example.org/hub\"\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\n" +
			"ca = \"/etc/rancher/two.pem\"\n\n[host.\"https://one.example.org\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
		"_default": "server = \"http://all.example.org:5000\"\ncapabilities = [\"pull\", \"resolve\"]\n",
		"ghcr.io":  "",
	} {
		data, err := os.ReadFile(m.path(RegistryHostsDir + "/" + name + "/hosts.toml"))
		if got := strings.TrimPrefix(string(data), renderedMark); err != nil || got != want {
			t.Errorf("%s (%v): got\n%s\nwant\n%s", name, err, got, want)
		}
	}
	mustApply(t, m, strings.Replace(config, "endpoint: true", "endpoint: false", 1))
	if data, err := os.ReadFile(m.path(RegistryHostsDir + "/docker.io/hosts.toml")); err != nil || strings.Contains(string(data), "server = ") {
		t.Errorf("the registry itself isn't asked: %s, %v", data, err)
	}
}

func TestNonrootDevices(t *testing.T) {
	m, _ := newMachine(t)
	mustApply(t, m, "skerry: {cluster: {nonroot-devices: true}}\n")
	data, err := os.ReadFile(m.path(devicesFile))
	if err != nil || !strings.Contains(string(data), "device_ownership_from_security_context = true") {
		t.Errorf("%s, %v", data, err)
	}
	mustApply(t, m, "")
	if _, err := os.Stat(m.path(devicesFile)); err == nil {
		t.Error("the file outlives its key")
	}
}

func TestEnvironment(t *testing.T) {
	var log strings.Builder
	m, _ := newMachine(t)
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	mustApply(t, m, `
hostname: a
skerry:
  cluster: {server: "https://server-1:6443", token: t}
  environment: {HTTPS_PROXY: 'http://u:hunter2$"\@proxy:3128', no_proxy: "10.42.0.0/16,.example.org", EMPTY: "a b"}
`)
	const direct = "10.42.0.0/16,.example.org,127.0.0.0/8,::1,localhost,a,10.43.0.0/16,.svc,.cluster.local,server-1"
	checkFile(t, m, "run/skerry/environment", "EMPTY=\"a b\"\nHTTPS_PROXY=\"http://u:hunter2\\$\\\"\\\\@proxy:3128\"\nno_proxy=\""+direct+"\"\n")
	checkFile(t, m, "etc/environment", "EMPTY=a b\nHTTPS_PROXY=http://u:hunter2$\"\\@proxy:3128\nno_proxy="+direct+"\n")
	for _, name := range []string{ServiceEnvironment, loginEnvironmentFile} {
		if info, err := os.Stat(m.path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if !strings.Contains(log.String(), "10.43.0.0/16") || strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log says\n%s", log.String())
	}
	mustApply(t, m, "skerry: {environment: {A: b}}\n")
	checkFile(t, m, "run/skerry/environment", "A=\"b\"\n")
	mustApply(t, m, "")
	if _, err := os.Stat(m.path(ServiceEnvironment)); err == nil {
		t.Error("the environment of the services is still there")
	}
	checkFile(t, m, "etc/environment", "")
}

func TestCACerts(t *testing.T) {
	_, trusted := keyServer(t, nil)
	m, _ := newMachine(t)
	mustApply(t, m, trusted)
	bundle := read(t, m, certsBundle)
	if !strings.HasPrefix(bundle, imageCert) || strings.Count(bundle, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("bundle:\n%s", bundle)
	}
	mustApply(t, m, trusted+"  remove_defaults: true\n")
	if bundle := read(t, m, certsBundle); strings.Contains(bundle, imageCert) || strings.Count(bundle, "BEGIN CERTIFICATE") != 1 {
		t.Errorf("bundle without the image's:\n%s", bundle)
	}
	if _, err := os.Stat(m.path("/etc/ssl/certs/1234abcd.0")); err == nil {
		t.Error("a certificate of the image's is still trusted")
	}
	mustApply(t, m, "")
	checkFile(t, m, certsBundle, imageCert)
}

func TestTime(t *testing.T) {
	m, system := newMachine(t)
	mustApply(t, m, "timezone: Europe/Oslo\nntp: {servers: [a, b], pools: c}\n")
	checkFile(t, m, timesyncFile, "[Time]\nNTP=a b c\n")
	checkFile(t, m, timezoneFile, "Europe/Oslo\n")
	checkFile(t, m, localtimeFile, "CET")
	mustApply(t, m, "ntp: {enabled: false}\n")
	checkFile(t, m, localtimeFile, "UTC")
	if _, err := os.Stat(m.path(timesyncFile)); err == nil {
		t.Error("the time servers are still there")
	}
	want := []string{"systemctl restart --no-block systemd-timesyncd.service", "systemctl stop --no-block systemd-timesyncd.service"}
	if !slices.Equal(system.ran, want) {
		t.Errorf("ran %q", system.ran)
	}
	for _, zone := range []string{"Europe/Olso", "Europe"} {
		if err := applyAll(t, m, parse(t, "timezone: "+zone+"\n")); err == nil || !strings.Contains(err.Error(), "there is no time zone "+zone) {
			t.Errorf("%s: %v", zone, err)
		}
	}
}

func TestManageEtcHosts(t *testing.T) {
	m, _ := newMachine(t)
	mustApply(t, m, "hostname: a\nmanage_etc_hosts: false\n")
	checkFile(t, m, "etc/hosts", image["etc/hosts"])
}
