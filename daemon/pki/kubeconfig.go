// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Kubeconfig says how one user reaches one cluster. Certificates are given as
// files, which clients read again when they are renewed.
type Kubeconfig struct {
	Server string // URL
	// TLSServerName is what the server's certificate is checked for, if it isn't
	// the host in Server.
	TLSServerName string
	CAFile        string
	CertFile      string
	KeyFile       string
	// Name is that of cluster, user and context.
	Name string
	// Embed copies the files into the kubeconfig, so that it can be carried to
	// another machine.
	Embed bool
}

// Write writes the kubeconfig to path, unless that is what it holds already.
func (k Kubeconfig) Write(path string, mode fs.FileMode) error {
	doc := newKubeconfigDocument(k)
	if k.Embed {
		for _, field := range []*fileOrData{&doc.Clusters[0].Cluster.CA, &doc.Users[0].User.Cert, &doc.Users[0].User.Key} {
			data, err := os.ReadFile(field.file)
			if err != nil {
				return fmt.Errorf("embed in %s: %w", path, err)
			}
			field.data = base64.StdEncoding.EncodeToString(data)
		}
	}
	data, err := yaml.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return atomicfile.WriteIfChanged(path, data, mode)
}

// WriteKubeconfigs writes what the parts of the control plane log in with to
// the cred directory. They reach kube-apiserver on its loopback port.
func (b *Bundle) WriteKubeconfigs(apiserverPort int) error {
	for name, cert := range map[string]string{
		"admin":            "client-admin",
		"supervisor":       "client-supervisor",
		"controller":       "client-controller",
		"scheduler":        "client-scheduler",
		"api-server":       "client-kube-apiserver",
		"cloud-controller": "client-k3s-cloud-controller",
	} {
		if err := b.kubeconfig(apiserverPort, cert).Write(filepath.Join(b.dir, "cred", name+".kubeconfig"), keyMode); err != nil {
			return err
		}
	}
	return nil
}

// WriteAdminKubeconfig writes the administrator's kubeconfig, whole in itself,
// to path (K3s' /etc/rancher/k3s/k3s.yaml, mode 0600).
func (b *Bundle) WriteAdminKubeconfig(path string, httpsPort int, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create directory of kubeconfig: %w", err)
	}
	k := b.kubeconfig(httpsPort, "client-admin")
	k.Name, k.Embed = "default", true
	return k.Write(path, mode)
}

func (b *Bundle) kubeconfig(port int, cert string) Kubeconfig {
	return Kubeconfig{
		Server:   "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		CAFile:   b.TLSFile("server-ca.crt"),
		CertFile: b.TLSFile(cert + ".crt"),
		KeyFile:  b.TLSFile(cert + ".key"),
		Name:     "local",
	}
}

// kubeconfigDocument is the part of client-go's format that is used here.
type kubeconfigDocument struct {
	APIVersion     string             `yaml:"apiVersion"`
	Kind           string             `yaml:"kind"`
	Clusters       []namedCluster     `yaml:"clusters"`
	Contexts       []namedContext     `yaml:"contexts"`
	CurrentContext string             `yaml:"current-context"`
	Users          []namedCredentials `yaml:"users"`
}

type namedCluster struct {
	Name    string  `yaml:"name"`
	Cluster cluster `yaml:"cluster"`
}

type cluster struct {
	Server        string
	TLSServerName string
	CA            fileOrData
}

func (c cluster) MarshalYAML() (any, error) {
	fields := map[string]string{"server": c.Server}
	if c.TLSServerName != "" {
		fields["tls-server-name"] = c.TLSServerName
	}
	return c.CA.addTo(fields, "certificate-authority"), nil
}

type namedContext struct {
	Name    string            `yaml:"name"`
	Context map[string]string `yaml:"context"`
}

type namedCredentials struct {
	Name string      `yaml:"name"`
	User credentials `yaml:"user"`
}

type credentials struct {
	Cert, Key fileOrData
}

func (c credentials) MarshalYAML() (any, error) {
	return c.Key.addTo(c.Cert.addTo(map[string]string{}, "client-certificate"), "client-key"), nil
}

// fileOrData is a field that exists twice in the format: K for a file's name,
// K-data for its content.
type fileOrData struct {
	file string
	data string // base64
}

func (f fileOrData) addTo(m map[string]string, key string) map[string]string {
	if f.data != "" {
		m[key+"-data"] = f.data
	} else {
		m[key] = f.file
	}
	return m
}

func newKubeconfigDocument(k Kubeconfig) *kubeconfigDocument {
	return &kubeconfigDocument{
		APIVersion:     "v1",
		Kind:           "Config",
		Clusters:       []namedCluster{{k.Name, cluster{k.Server, k.TLSServerName, fileOrData{file: k.CAFile}}}},
		Contexts:       []namedContext{{k.Name, map[string]string{"cluster": k.Name, "user": k.Name}}},
		CurrentContext: k.Name,
		Users:          []namedCredentials{{k.Name, credentials{fileOrData{file: k.CertFile}, fileOrData{file: k.KeyFile}}}},
	}
}
