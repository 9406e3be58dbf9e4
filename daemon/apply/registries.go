// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

const (
	// registriesFile is K3s' own, for those who look for it there. It and the
	// folder are on STATE, and go when they leave the configuration.
	registriesFile = "/etc/rancher/k3s/registries.yaml"
	// RegistryHostsDir is containerd's config_path, with a folder a registry.
	// Upgrades that come from registries read it too.
	RegistryHostsDir = "/etc/rancher/k3s/registries.d"
	// registryAuthFile is imported by containerd's configuration: credentials
	// have no place in hosts.toml.
	registryAuthFile = "/run/skerry/containerd.d/registries.toml"
)

// registries renders where containerd pulls images from. containerd reads the
// folders at each pull, and the credentials when it starts, which is later.
func registries(_ context.Context, m *Machine, loaded *config.Loaded) error {
	wanted := loaded.Config.Skerry.Registries
	if wanted == nil {
		wanted = &configschema.Registries{}
	}
	hosts := renderHostsFiles(wanted, bool(loaded.Config.Skerry.Cluster.DisableDefaultRegistryEndpoint))
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		if err := m.write(RegistryHostsDir+"/"+name+"/hosts.toml", []byte(hosts[name]), 0o644, byRoot); err != nil {
			return err
		}
	}
	if err := m.sweepHosts(hosts); err != nil {
		return err
	}
	if auth := renderAuth(wanted); auth == "" {
		if err := m.remove(registryAuthFile); err != nil {
			return err
		}
	} else if err := m.write(registryAuthFile, []byte(auth), 0o600, byRoot); err != nil {
		return err
	}
	if len(wanted.Mirrors)+len(wanted.Configs) == 0 {
		return m.remove(registriesFile)
	}
	data, err := configschema.EncodeRegistries(wanted)
	if err != nil {
		return err
	}
	return m.write(registriesFile, data, 0o600, byRoot)
}

// sweepHosts removes the folders of registries that have left the
// configuration: left behind, they would go on redirecting pulls.
func (m *Machine) sweepHosts(hosts map[string]string) error {
	entries, err := os.ReadDir(m.path(RegistryHostsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for registries: %w", err)
	}
	for _, entry := range entries {
		if _, ok := hosts[entry.Name()]; !ok {
			if err := os.RemoveAll(m.path(RegistryHostsDir + "/" + entry.Name())); err != nil {
				return fmt.Errorf("remove registry %s: %w", entry.Name(), err)
			}
		}
	}
	return nil
}

// hostsFolder is the folder of a registry in config_path.
func hostsFolder(name string) string {
	if name == "*" {
		return "_default"
	}
	if i := strings.LastIndex(name, ":"); i > 0 && !strings.HasSuffix(name, "]") {
		return name[:i] + "_" + name[i+1:] + "_" // a colon isn't allowed everywhere
	}
	return name
}

// renderHostsFiles returns the hosts.toml of every registry that has mirrors or
// certificates, by its folder. containerd asks a registry itself after its mirrors,
// but for mirrorsOnly: then the last mirror is what it takes for the registry.
func renderHostsFiles(r *configschema.Registries, mirrorsOnly bool) map[string]string {
	names := map[string]bool{}
	for name := range r.Mirrors {
		names[name] = true
	}
	for name, c := range r.Configs {
		if c.TLS != nil {
			names[name] = true
		}
	}
	files := map[string]string{}
	for name := range names {
		var b strings.Builder
		b.WriteString(renderedMark)
		mirrors := r.Mirrors[name].Endpoint
		if last := len(mirrors) - 1; mirrorsOnly && last >= 0 {
			fmt.Fprintf(&b, "server = %s\n", tomlString(strings.TrimSuffix(mirrors[last], "/")))
			renderMirror(&b, "", r, mirrors[last])
			mirrors = mirrors[:last]
		} else {
			renderTLS(&b, "", r.Configs[name].TLS)
		}
		for _, endpoint := range mirrors {
			fmt.Fprintf(&b, "\n[host.%s]\n", tomlString(strings.TrimSuffix(endpoint, "/")))
			renderMirror(&b, "  ", r, endpoint)
		}
		files[hostsFolder(name)] = b.String()
	}
	return files
}

func renderMirror(b *strings.Builder, indent string, r *configschema.Registries, endpoint string) {
	fmt.Fprintf(b, "%scapabilities = [\"pull\", \"resolve\"]\n", indent)
	u, err := url.Parse(endpoint)
	if err != nil {
		return // not of a file that was accepted
	}
	if strings.Trim(u.Path, "/") != "" {
		fmt.Fprintf(b, "%soverride_path = true\n", indent)
	}
	if u.Scheme == "https" { // else containerd would try https first
		renderTLS(b, indent, registryConfig(r, u).TLS)
	}
}

// registryConfig finds the entry of an endpoint, which people write with or
// without the port.
func registryConfig(r *configschema.Registries, u *url.URL) configschema.RegistryConfig {
	if c, ok := r.Configs[u.Host]; ok {
		return c
	}
	port := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	if u.Port() == "" {
		return r.Configs[net.JoinHostPort(u.Hostname(), port)]
	}
	if u.Port() == port {
		return r.Configs[u.Hostname()]
	}
	return configschema.RegistryConfig{}
}

func renderTLS(b *strings.Builder, indent string, t *configschema.RegistryTLS) {
	if t == nil {
		return
	}
	if t.CAFile != "" {
		fmt.Fprintf(b, "%sca = %s\n", indent, tomlString(t.CAFile))
	}
	if t.CertFile != "" {
		fmt.Fprintf(b, "%sclient = [[%s, %s]]\n", indent, tomlString(t.CertFile), tomlString(t.KeyFile))
	}
	if t.InsecureSkipVerify {
		fmt.Fprintf(b, "%sskip_verify = true\n", indent)
	}
}

// renderAuth returns the part of containerd's configuration with the
// credentials, nothing when there are none.
func renderAuth(r *configschema.Registries) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Configs)) {
		auth := r.Configs[name].Auth
		if auth == nil {
			continue
		}
		hosts := []string{name}
		if _, given := r.Configs[configschema.DockerHost]; name == configschema.DockerHub && !given {
			hosts = append(hosts, configschema.DockerHost) // what containerd asks credentials for
		}
		for _, host := range hosts {
			fmt.Fprintf(&b, "\n[plugins.\"io.containerd.cri.v1.images\".registry.configs.%s.auth]\n", tomlString(host))
			for _, field := range [][2]string{{"username", auth.Username}, {"password", auth.Password.Reveal()},
				{"auth", auth.Auth.Reveal()}, {"identitytoken", auth.IdentityToken.Reveal()}} {
				if field[1] != "" {
					fmt.Fprintf(&b, "%s = %s\n", field[0], tomlString(field[1]))
				}
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return renderedMark + "version = 4\n" + b.String()
}

// tomlString quotes text as a basic string of TOML.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			b.WriteString(`\u` + strconv.FormatInt(int64(r)+0x10000, 16)[1:])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
