// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestKubeconfigs(t *testing.T) {
	dir := t.TempDir()
	b := ensure(t, dir, testOptions())
	if err := b.WriteKubeconfigs(6444); err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(t.TempDir(), "rancher", "k3s", "k3s.yaml")
	if err := b.WriteAdminKubeconfig(admin, 6443, 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	ctx := config.Contexts["default"]
	if config.CurrentContext != "default" || ctx == nil || ctx.Cluster != "default" || ctx.AuthInfo != "default" {
		t.Fatalf("contexts %v, current %q", config.Contexts, config.CurrentContext)
	}
	if got := config.Clusters["default"].Server; got != "https://127.0.0.1:6443" {
		t.Errorf("server %s", got)
	}
	if !bytes.Equal(config.Clusters["default"].CertificateAuthorityData, b.ServerCAPEM()) ||
		!bytes.Equal(config.AuthInfos["default"].ClientCertificateData, read(t, b.TLSFile("client-admin.crt"))) ||
		!bytes.Equal(config.AuthInfos["default"].ClientKeyData, read(t, b.TLSFile("client-admin.key"))) {
		t.Error("certificates differ from the server's")
	}
	if info, err := os.Stat(admin); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	rest, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "cred", "controller.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if rest.Host != "https://127.0.0.1:6444" || rest.CertFile != b.TLSFile("client-controller.crt") || rest.CAFile != b.TLSFile("server-ca.crt") {
		t.Errorf("controller logs in to %s with %s", rest.Host, rest.CertFile)
	}
}
