// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWithDefaults(t *testing.T) {
	on, off := Switch(true), Switch(false)
	for _, test := range []struct {
		name string
		give Cluster
		want Cluster
	}{
		{"server", Cluster{}, Cluster{
			ClusterCIDR: CommaList{"10.42.0.0/16"}, ServiceCIDR: CommaList{"10.43.0.0/16"}, ClusterDNS: CommaList{"10.43.0.10"},
			ClusterDomain: "cluster.local", HTTPSListenPort: 6443, LBServerPort: 6444, DataDir: "/var/lib/rancher/k3s", FlannelBackend: "vxlan",
			WriteKubeconfig: "/etc/rancher/k3s/k3s.yaml", WriteKubeconfigMode: 0o600, ServiceNodePortRange: "30000-32767",
			EgressSelectorMode: "agent", EtcdSnapshotDir: "/var/lib/rancher/k3s/server/db/snapshots",
			EtcdSnapshotScheduleCron: "0 */12 * * *", EtcdSnapshotRetention: 5, EtcdSnapshotName: "etcd-snapshot",
			EtcdS3Endpoint: "s3.amazonaws.com", EtcdS3Region: "us-east-1", EtcdS3Retention: 5, EtcdS3Timeout: Seconds(5 * time.Minute),
			SecretsEncryption: &on, SecretsEncryptionProvider: "secretbox",
		}},
		{"dual stack", Cluster{ServiceCIDR: CommaList{"10.99.0.0/24", "fd00:43::/112"}, ClusterDomain: "x.y", DataDir: "/var/k"}, Cluster{
			ClusterCIDR: CommaList{"10.42.0.0/16"}, ServiceCIDR: CommaList{"10.99.0.0/24", "fd00:43::/112"},
			ClusterDNS:    CommaList{"10.99.0.10", "fd00:43::a"},
			ClusterDomain: "x.y", HTTPSListenPort: 6443, LBServerPort: 6444, DataDir: "/var/k", FlannelBackend: "vxlan",
			WriteKubeconfig: "/etc/rancher/k3s/k3s.yaml", WriteKubeconfigMode: 0o600, ServiceNodePortRange: "30000-32767",
			EgressSelectorMode: "agent", EtcdSnapshotDir: "/var/k/server/db/snapshots",
			EtcdSnapshotScheduleCron: "0 */12 * * *", EtcdSnapshotRetention: 5, EtcdSnapshotName: "etcd-snapshot",
			EtcdS3Endpoint: "s3.amazonaws.com", EtcdS3Region: "us-east-1", EtcdS3Retention: 5, EtcdS3Timeout: Seconds(5 * time.Minute),
			SecretsEncryption: &on, SecretsEncryptionProvider: "secretbox",
		}},
		{"plain Secrets", Cluster{ClusterDNS: CommaList{"10.43.0.10"}, SecretsEncryption: &off, SecretsEncryptionProvider: "aescbc"}, Cluster{
			ClusterCIDR: CommaList{"10.42.0.0/16"}, ServiceCIDR: CommaList{"10.43.0.0/16"}, ClusterDNS: CommaList{"10.43.0.10"},
			ClusterDomain: "cluster.local", HTTPSListenPort: 6443, LBServerPort: 6444, DataDir: "/var/lib/rancher/k3s", FlannelBackend: "vxlan",
			WriteKubeconfig: "/etc/rancher/k3s/k3s.yaml", WriteKubeconfigMode: 0o600, ServiceNodePortRange: "30000-32767",
			EgressSelectorMode: "agent", EtcdSnapshotDir: "/var/lib/rancher/k3s/server/db/snapshots",
			EtcdSnapshotScheduleCron: "0 */12 * * *", EtcdSnapshotRetention: 5, EtcdSnapshotName: "etcd-snapshot",
			EtcdS3Endpoint: "s3.amazonaws.com", EtcdS3Region: "us-east-1", EtcdS3Retention: 5, EtcdS3Timeout: Seconds(5 * time.Minute),
			SecretsEncryption: &off, SecretsEncryptionProvider: "aescbc",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := test.give
			got, err := test.give.WithDefaults()
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v\ngot  %#v\nwant %#v", err, got, test.want)
			}
			if !reflect.DeepEqual(before, test.give) {
				t.Error("the original was changed")
			}
		})
	}
}

// TestEncodeCluster writes every key and reads it back.
func TestEncodeCluster(t *testing.T) {
	config, problems := Parse("user-data", read(t, "testdata/accepted/server.yaml"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want, err := config.Skerry.Cluster.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	data, err := EncodeCluster(&want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "agent-token: other\n") || strings.Contains(string(data), redacted) {
		t.Errorf("secrets are not revealed:\n%s", data)
	}
	got, problems := ParseCluster("cluster.yaml", data)
	if len(problems) > 0 {
		t.Fatalf("%v\nin\n%s", problems, data)
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %#v\nwant %#v", *got, want)
	}
}

func TestWithDefaultsRefusesBadNetwork(t *testing.T) {
	c := Cluster{ServiceCIDR: CommaList{"x"}}
	if _, err := c.WithDefaults(); err == nil {
		t.Error("accepted")
	}
}

// TestEncodeKeepsTypes uses values that YAML could take for something else.
func TestEncodeKeepsTypes(t *testing.T) {
	want := &Cluster{Token: "0123", AgentToken: "1e3", NodeName: "123", FlannelIface: "yes", KubeletArg: ArgList{"true", "a=b: c", "#c"}}
	data, err := EncodeCluster(want)
	if err != nil {
		t.Fatal(err)
	}
	got, problems := ParseCluster("cluster.yaml", data)
	if len(problems) > 0 {
		t.Fatalf("%v\nin\n%s", problems, data)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v from\n%s", got, data)
	}
}

func TestParseCluster(t *testing.T) {
	got, problems := ParseCluster("config.yaml", read(t, "testdata/cluster/accepted.yaml"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got.DataDir != "/opt/k3s" || !slices.Equal(got.NodeLabel, []string{"a=b", "c=d"}) {
		t.Errorf("got %+v", got)
	}
	_, problems = ParseCluster("config.yaml", []byte("tokn: a\n"))
	if want := `config.yaml:1:1: tokn: unknown key (did you mean "token"?)`; problems.Error() != want {
		t.Errorf("got %q, want %q", problems.Error(), want)
	}
}

// TestClusterKeysAreK3s keeps the fields and K3s' table together.
func TestClusterKeysAreK3s(t *testing.T) {
	for _, key := range clusterKeys() {
		if k3sKeys[key] == 0 {
			t.Errorf("K3s has no key %q", key)
		}
		if k3sNotes[key] != "" {
			t.Errorf("%q is implemented, and noted as unsupported", key)
		}
	}
	for key := range k3sNotes {
		if k3sKeys[key] == 0 {
			t.Errorf("a note on %q, which K3s doesn't have", key)
		}
	}
	for key := range k3sDifferences {
		if !slices.Contains(clusterKeys(), key) {
			t.Errorf("a difference of %q, which isn't supported", key)
		}
	}
	for _, key := range K3sKeys() {
		if !key.Supported && key.Note == "" {
			t.Errorf("nothing says why %q is not supported", key.Name)
		}
	}
	for key := range cloudInitNever {
		if cloudInitLater[key] != "" {
			t.Errorf("%q is in both tables", key)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"token", "server", "node-label", "hostname"}
	for written, want := range map[string]string{
		"tokn": "token", "toekn": "token", "nodeLabels": "node-label", "HOSTNAME": "hostname", "sevrer": "server",
		"kubernetes": "", "": "", "x": "",
	} {
		if want != "" {
			want = `did you mean "` + want + `"?`
		}
		if got := didYouMean(written, known); got != want {
			t.Errorf("%q: got %q, want %q", written, got, want)
		}
	}
}
