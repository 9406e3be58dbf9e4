// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"encoding/json"
	"fmt"
	"log/slog"
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
		reflect.TypeFor[PrivateKey](), reflect.TypeFor[PeerKeys]()} {
		for i := range typ.NumField() {
			field := typ.Field(i)
			key := field.Tag.Get("yaml")
			if key == "" {
				t.Errorf("%s.%s has no yaml key", typ.Name(), field.Name)
			}
			named := strings.HasSuffix(key, "token") || strings.HasSuffix(key, "passwd") && field.Type.Kind() == reflect.String ||
				strings.Contains(key, "secret-") || key == "datastore-endpoint" ||
				key == "private" || key == "shared"
			if named && field.Type != reflect.TypeFor[Secret]() {
				t.Errorf("%s holds a secret and is a %s", key, field.Type)
			}
		}
	}
}
