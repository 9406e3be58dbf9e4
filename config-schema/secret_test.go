// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestSecretIsRedacted tries every way a secret could be printed by accident.
func TestSecretIsRedacted(t *testing.T) {
	const value = "hunter2"
	cluster := Cluster{Token: value, AgentToken: value, DatastoreEndpoint: value}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("x", "token", cluster.Token, "cluster", cluster)
	asJSON, err := json.Marshal(cluster)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(cluster)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{log.String(), string(asJSON), string(asYAML), cluster.Token.String(), cluster.Token.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		printed = append(printed, fmt.Sprintf(verb, cluster.Token), fmt.Sprintf(verb, cluster), fmt.Sprintf(verb, &cluster))
	}
	for _, text := range printed {
		if strings.Contains(text, value) || strings.Contains(text, fmt.Sprintf("%x", value)) {
			t.Errorf("the secret is in %s", text)
		}
		if !strings.Contains(text, redacted) {
			t.Errorf("no redaction in %s", text)
		}
	}
	if cluster.Token.Reveal() != value {
		t.Error("Reveal doesn't")
	}
	if got := Secret("").String(); got != "" {
		t.Errorf("an empty secret shows as %q", got)
	}
}

// TestSecretFields fails when a key that by its name holds a secret isn't one.
func TestSecretFields(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[User](), reflect.TypeFor[Skerry](), reflect.TypeFor[Cluster](),
		reflect.TypeFor[ChPasswdUser](), reflect.TypeFor[RegistryAuth](), reflect.TypeFor[PrivateKey](), reflect.TypeFor[PeerKeys]()} {
		for i := range typ.NumField() {
			field := typ.Field(i)
			key := field.Tag.Get("yaml")
			if key == "" {
				t.Errorf("%s.%s has no yaml key", typ.Name(), field.Name)
			}
			named := strings.HasSuffix(key, "token") || strings.HasSuffix(key, "password") || key == "auth" && field.Type.Kind() == reflect.String || strings.HasSuffix(key, "passwd") && field.Type.Kind() == reflect.String ||
				strings.Contains(key, "secret-") || key == "datastore-endpoint" ||
				key == "private" || key == "shared"
			if named && field.Type != reflect.TypeFor[Secret]() {
				t.Errorf("%s holds a secret and is a %s", key, field.Type)
			}
		}
	}
}

// wgKey is of no machine.
const wgKey = "/UTdQPQ9UsNn/kEPBZuwGR5tECbIdm4dpTtRu5fKSEs="

// TestResolve replaces references wherever they are, and checks what they held.
func TestResolve(t *testing.T) {
	const text = `#cloud-config
users: [{name: a, lock_passwd: false, passwd: {file: /etc/rancher/hash}}]
chpasswd: {users: [{name: a, type: text, password: {credential: skerry.plain}}]}
skerry:
  cluster: {token: {file: /etc/rancher/token}}
  network: {tunnels: {wg0: {mode: wireguard, key: {file: /etc/rancher/wg}, peers: [{keys: {public: "/UTdQPQ9UsNn/kEPBZuwGR5tECbIdm4dpTtRu5fKSEs=", shared: {file: /etc/rancher/wg}}}]}}}
  environment: {A: {file: /etc/rancher/token}, B: b}
  registries: {configs: {r: {auth: {username: u, password: {credential: skerry.plain}}}}}
`
	layer := []Layer{{Name: "user-data", File: "user-data", Data: []byte(text)}}
	merged, problems := MergeLayers(layer)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	config := merged.Config
	if got := config.Skerry.Cluster.Token; got.Reveal() != "" || got.String() != redacted {
		t.Errorf("before it is read, a reference is %q, shown as %s", got.Reveal(), got)
	}
	if _, err := EncodeCluster(&config.Skerry.Cluster); err == nil {
		t.Error("a reference was encoded as if it were the secret")
	}
	values := map[Reference]string{
		{File: "/etc/rancher/hash"}:  "$6$salt$abcdefgh\n",
		{File: "/etc/rancher/token"}: "hunter2\n",
		{Credential: "skerry.plain"}: "hunter2",
		{File: "/etc/rancher/wg"}:    wgKey + "\n",
	}
	read := func(r Reference) (string, error) { return values[r], nil }
	if problems := merged.Resolve(read); len(problems) > 0 {
		t.Fatal(problems)
	}
	for what, got := range map[string]Secret{
		"token":       config.Skerry.Cluster.Token,
		"environment": config.Skerry.Environment["A"],
		"registry":    config.Skerry.Registries.Configs["r"].Auth.Password,
		"chpasswd":    config.ChPasswd.Users[0].Password,
	} {
		if got.Reveal() != "hunter2" {
			t.Errorf("%s is %q", what, got.Reveal())
		}
	}
	tunnel := config.Skerry.Network.Tunnels[0]
	if tunnel.Key.Private.Reveal() != wgKey || tunnel.Peers[0].Keys.Shared.Reveal() != wgKey {
		t.Error("the keys of the tunnel were not read")
	}
	if hash, _ := config.Users[0].Password(); hash.Reveal() != "$6$salt$abcdefgh" {
		t.Errorf("passwd is %q", hash.Reveal())
	}
	for _, test := range []struct{ file, text, want string }{
		{"hash", "hunter2", "user-data:2:47: users[0].passwd: is not a password hash"},
		{"token", "hunter2 x", "user-data:5:20: skerry.cluster.token: a token has no spaces"},
		{"token", "\n", "user-data:5:20: skerry.cluster.token: file /etc/rancher/token is empty"},
		{"wg", "hunter2", "user-data:6:51: skerry.network.tunnels.wg0.key: is not a WireGuard key"},
	} {
		values := maps.Clone(values)
		values[Reference{File: "/etc/rancher/" + test.file}] = test.text
		read := func(r Reference) (string, error) { return values[r], nil }
		merged, _ := MergeLayers(layer)
		err := merged.Resolve(read).Error()
		if !strings.Contains(err, test.want) || strings.Contains(err, "hunter2") {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
	if _, problems := ParseCluster("config.yaml", []byte("token: {file: /x}\n")); len(problems) != 1 {
		t.Errorf("K3s' file took a reference: %v", problems)
	}
}

// TestConfigIsRedacted prints a whole configuration, with a secret wherever one
// can be.
func TestConfigIsRedacted(t *testing.T) {
	config, problems := Parse("user-data", []byte(`#cloud-config
users: [{name: a, plain_text_passwd: hunter2}]
chpasswd: {list: ["a:hunter2"], users: [{name: a, password: hunter2, type: text}]}
skerry:
  cluster: {token: hunter2}
  environment: {HTTP_PROXY: "http://u:hunter2@p"}
  registries: {configs: {r: {auth: {username: u, password: hunter2}}, s: {auth: {auth: hunter2}}, t: {auth: {identity_token: hunter2}}}}
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	asJSON, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(asJSON), string(asYAML), fmt.Sprintf("%+v", config), fmt.Sprintf("%#v", config.ChPasswd)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("a secret is in %s", text)
		}
	}
}
