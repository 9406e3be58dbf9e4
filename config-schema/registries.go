// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Registries is K3s' registries.yaml: where images are pulled from, and with
// which credentials and certificates.
type Registries struct {
	// What to ask instead of a registry, by the registry's name as it stands in
	// the names of images, with its port where it has one. "*" stands for every
	// registry that is not named. Where no mirror has an image, the registry
	// itself is asked.
	Mirrors map[string]Mirror `yaml:"mirrors"`
	// Credentials and certificates, by the name of a registry or mirror.
	Configs map[string]RegistryConfig `yaml:"configs"`
}

// Mirror is what is asked instead of a registry.
type Mirror struct {
	// URLs of the mirrors, asked in order. One with a path is asked below that
	// path as it is, one without below /v2.
	Endpoint ArgList `yaml:"endpoint"`
}

func (*Mirror) unsupported(key string) (message, hint string) {
	if key == "rewrite" || key == "rewrites" {
		return "known K3s key, not supported by this release: containerd has no rewriting of image names, K3s brings a changed one",
			"put the path into the URL of the endpoint"
	}
	return "", ""
}

// RegistryConfig is how to speak to a registry or mirror.
type RegistryConfig struct {
	// Credentials to pull with, where a pod brings none of its own.
	Auth *RegistryAuth `yaml:"auth"`
	// Certificates.
	TLS *RegistryTLS `yaml:"tls"`
}

// RegistryAuth are the credentials of a registry.
type RegistryAuth struct {
	// Name of the user.
	Username string `yaml:"username"`
	// Password of the user.
	Password Secret `yaml:"password"`
	// User and password as user:password in base64, instead of the two.
	Auth Secret `yaml:"auth"`
	// Token that the registry gave, instead of a password.
	IdentityToken Secret `yaml:"identity_token"`
}

// RegistryTLS are the certificates of a registry.
type RegistryTLS struct {
	// File with the certificates of the authorities that the registry's
	// certificate is checked with, beside those of the machine.
	CAFile string `yaml:"ca_file"`
	// File with the certificate to show to the registry.
	CertFile string `yaml:"cert_file"`
	// File with the key of that certificate.
	KeyFile string `yaml:"key_file"`
	// Whether any certificate of the registry is accepted. The default is false.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

var registryName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$`)

func (r *Registries) check(s scope) {
	for name := range r.Mirrors {
		if name != "*" && !registryName.MatchString(name) {
			s.problem(s.at("mirrors", name), quote(name)+" is not the name of a registry", registryHint(name))
		}
	}
	for name := range r.Configs {
		if !registryName.MatchString(name) {
			s.problem(s.at("configs", name), quote(name)+" is not the name of a registry", registryHint(name))
		}
	}
}

func registryHint(name string) string {
	if _, rest, ok := strings.Cut(name, "://"); ok {
		return "write " + strings.TrimSuffix(clip(rest), "/")
	}
	return "host, or host:port"
}

func (m *Mirror) check(s scope) {
	seen := map[string]bool{}
	for i, text := range m.Endpoint {
		at := s.item("endpoint", i)
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			hint := "such as https://mirror.example.org:5000"
			if registryName.MatchString(text) {
				hint = "write https://" + clip(text)
			}
			s.problem(at, quote(text)+" is not a URL", hint)
		case u.User != nil:
			s.problem(at, "a URL must not hold a password", "use auth of its entry in configs")
		case u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(text, "\"\\"):
			s.problem(at, "must end after the path", "")
		case seen[strings.TrimSuffix(text, "/")]:
			s.problem(at, quote(text)+" is listed twice", "remove one")
		}
		seen[strings.TrimSuffix(text, "/")] = true
	}
}

func (a *RegistryAuth) check(s scope) {
	ways := 0
	for _, key := range []string{"password", "auth", "identity_token"} {
		if s.has(key) {
			ways++
		}
	}
	switch {
	case ways == 0:
		s.problem(s.path, "has no password, auth or identity_token", "")
	case ways > 1:
		s.problem(s.path, "has several of password, auth and identity_token", "keep one")
	case s.has("password") && !s.has("username"):
		s.problem(s.at("username"), "the name of the user is missing", "")
	}
	a.checkSecrets(s)
}

var base64Text = regexp.MustCompile(`^[A-Za-z0-9+/]+=*$`)

func (a *RegistryAuth) checkSecrets(s scope) {
	if text := a.Auth.Reveal(); text != "" && !base64Text.MatchString(text) {
		s.problem(s.at("auth"), "is not base64", "it is user:password in base64")
	}
}

func (v *RegistryTLS) check(s scope) {
	for key, name := range map[string]string{"ca_file": v.CAFile, "cert_file": v.CertFile, "key_file": v.KeyFile} {
		if name != "" {
			s.absolute(key, name)
		}
	}
	if (v.CertFile == "") != (v.KeyFile == "") {
		s.problem(s.path, "cert_file and key_file go together", "give both, or neither")
	}
}

// DockerHub is what names of images have for Docker Hub, and DockerHost is where
// it really is.
const (
	DockerHub  = "docker.io"
	DockerHost = "registry-1.docker.io"
)

// CredentialsFor returns what to log in to a host with, which may have a port: a
// user and a password, or no user and a token, or nothing. References to secrets
// have to be resolved.
func (r *Registries) CredentialsFor(host string) (user, secret string, err error) {
	auth := r.Configs[host].Auth
	if auth == nil && host == DockerHost {
		auth = r.Configs[DockerHub].Auth
	}
	switch {
	case auth == nil:
		return "", "", nil
	case auth.IdentityToken.Reveal() != "":
		return "", auth.IdentityToken.Reveal(), nil
	case auth.Auth.Reveal() == "":
		return auth.Username, auth.Password.Reveal(), nil
	}
	decoded, err := base64.StdEncoding.DecodeString(auth.Auth.Reveal())
	user, secret, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok {
		return "", "", fmt.Errorf("skerry.registries.configs.%s.auth.auth is not user:password in base64", host)
	}
	return user, strings.TrimRight(secret, "\x00"), nil
}

// EncodeRegistries writes K3s' registries.yaml. Secrets are in it: the file must
// be readable by root only.
func EncodeRegistries(r *Registries) ([]byte, error) {
	configs := map[string]any{}
	for name, c := range r.Configs {
		entry := map[string]any{}
		if a := c.Auth; a != nil {
			entry["auth"] = given(map[string]string{"username": a.Username, "password": a.Password.Reveal(),
				"auth": a.Auth.Reveal(), "identity_token": a.IdentityToken.Reveal()})
		}
		if t := c.TLS; t != nil {
			files := map[string]any{"insecure_skip_verify": t.InsecureSkipVerify}
			for key, value := range given(map[string]string{"ca_file": t.CAFile, "cert_file": t.CertFile, "key_file": t.KeyFile}) {
				files[key] = value
			}
			entry["tls"] = files
		}
		configs[name] = entry
	}
	mirrors := map[string]any{}
	for name, m := range r.Mirrors {
		mirrors[name] = map[string][]string{"endpoint": m.Endpoint}
	}
	data, err := yaml.Marshal(map[string]any{"mirrors": mirrors, "configs": configs})
	if err != nil {
		return nil, fmt.Errorf("encode registries: %w", err)
	}
	return data, nil
}

func given(fields map[string]string) map[string]string {
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	return fields
}
