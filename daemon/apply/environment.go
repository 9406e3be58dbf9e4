// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

const (
	// ServiceEnvironment is read by the units of containerd and Kubernetes.
	ServiceEnvironment = "/run/skerry/environment"
	// loginEnvironmentFile is read by PAM, as root, for whoever logs in.
	loginEnvironmentFile = "/etc/environment"
	// environmentMode: the URL of a proxy may hold a password.
	environmentMode = 0o600
)

// envVar is a variable with its value.
type envVar struct{ name, value string }

// environment renders the variables of the configuration.
func environment(_ context.Context, m *Machine, loaded *config.Loaded) error {
	variables, err := m.variables(loaded)
	if err != nil {
		return err
	}
	if len(variables) == 0 {
		if err := m.remove(ServiceEnvironment); err != nil {
			return err
		}
		return m.emptyLoginEnvironment()
	}
	var service, login strings.Builder
	for _, v := range variables {
		fmt.Fprintf(&service, "%s=%s\n", v.name, quoteEnvironment(v.value))
		fmt.Fprintf(&login, "%s=%s\n", v.name, v.value) // PAM takes the rest of the line
	}
	if err := m.write(ServiceEnvironment, []byte(service.String()), environmentMode, byRoot); err != nil {
		return err
	}
	if added := m.addedNoProxy(loaded); len(added) > 0 {
		m.Log.Info("NO_PROXY was completed with what must be reached without the proxy", "added", strings.Join(added, ","))
	}
	return m.write(loginEnvironmentFile, []byte(login.String()), environmentMode, byRoot)
}

func (m *Machine) emptyLoginEnvironment() error {
	info, err := os.Stat(m.path(loginEnvironmentFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return m.write(loginEnvironmentFile, nil, 0o644, byRoot)
}

// quoteEnvironment quotes a value as systemd.exec(5) has it for
// EnvironmentFile.
func quoteEnvironment(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}

// noProxyNames are the names of the variable; programs read one or the other.
var noProxyNames = []string{"NO_PROXY", "no_proxy"}

// variables returns the environment in order, with NO_PROXY completed.
func (m *Machine) variables(loaded *config.Loaded) ([]envVar, error) {
	given := loaded.Config.Skerry.Environment
	if len(given) == 0 {
		return nil, nil
	}
	values := map[string]string{}
	for name, value := range given {
		values[name] = value.Reveal()
	}
	if given.Proxied() {
		direct, err := withoutProxy(loaded)
		if err != nil {
			return nil, err
		}
		if values["NO_PROXY"] == "" && values["no_proxy"] == "" {
			values["NO_PROXY"] = ""
		}
		for _, name := range noProxyNames {
			if value, ok := values[name]; ok {
				values[name] = strings.Join(append(splitNoProxy(value), missing(value, direct)...), ",")
			}
		}
	}
	list := make([]envVar, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, envVar{name, values[name]})
	}
	return list, nil
}

func splitNoProxy(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// missing returns what of a list a value doesn't have yet.
func missing(value string, list []string) []string {
	have := splitNoProxy(value)
	return slices.DeleteFunc(slices.Clone(list), func(entry string) bool { return slices.Contains(have, entry) })
}

// addedNoProxy returns what NO_PROXY was completed with, for the log.
func (m *Machine) addedNoProxy(loaded *config.Loaded) []string {
	given := loaded.Config.Skerry.Environment
	direct, err := withoutProxy(loaded)
	if err != nil || !given.Proxied() {
		return nil
	}
	value := given["NO_PROXY"].Reveal()
	if value == "" {
		value = given["no_proxy"].Reveal()
	}
	return missing(value, direct)
}

// withoutProxy lists what no proxy must be asked for. An agent learns the
// cluster's networks from its server; until then its own file is all there is,
// and K3s' defaults.
func withoutProxy(loaded *config.Loaded) ([]string, error) {
	cluster, err := loaded.Config.Skerry.Cluster.WithDefaults()
	if err != nil {
		return nil, err
	}
	list := []string{"127.0.0.0/8", "::1", "localhost", loaded.Hostname}
	list = append(list, cluster.ClusterCIDR...)
	list = append(list, cluster.ServiceCIDR...)
	list = append(list, ".svc", "."+cluster.ClusterDomain)
	if host := serverHost(&cluster); host != "" {
		list = append(list, host)
	}
	return slices.DeleteFunc(list, func(entry string) bool { return entry == "" }), nil
}

func serverHost(cluster *configschema.Cluster) string {
	u, err := url.Parse(cluster.Server)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
