// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// payloadFolder is what `make payload` leaves, but for what is in it.
func payloadFolder(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	m := payloadManifest{Format: 1, Version: version}
	for file, to := range map[string]*payloadFile{"root.erofs.zst": &m.Files.Root, "root.verity.zst": &m.Files.Verity, "skerry.efi.zst": &m.Files.UKI} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, bytes.Repeat([]byte(file), 1000), 0o644); err != nil {
			t.Fatal(err)
		}
		content, err := contentOf(path)
		if err != nil {
			t.Fatal(err)
		}
		*to = payloadFile{Name: file, payloadContent: content}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{payloadManifestFile: text, payloadManifestFile + ".minisig": []byte("signature")} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPushPayload(t *testing.T) {
	blobs := t.TempDir()
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "hunter2" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	at := imageScheme + server.Listener.Addr().String() + "/a/skerry"
	options := []remote.Option{remote.WithTransport(server.Client().Transport)}
	as := func(password string) []remote.Option {
		return append(options, remote.WithAuthFromKeychain(keychain(authn.AuthConfig{Username: "robot", Password: password})))
	}
	dir := payloadFolder(t, "1.2.3~rc1")
	if _, err := pushPayload(t.Context(), dir, at, as("wrong")...); err == nil || !strings.Contains(err.Error(), "UNAUTHORIZED") && !strings.Contains(err.Error(), "401") {
		t.Errorf("with a wrong password: %v", err)
	}
	for range 2 { // again, what is there is left
		tags, err := pushPayload(t.Context(), dir, at+":stable", as("hunter2")...)
		if err != nil || fmt.Sprint(tags) != "[1.2.3_rc1 stable]" {
			t.Fatalf("got %v, %v", tags, err)
		}
	}
	const golden = "testdata/artifact.json" // daemon/upgrade reads it too
	for _, tag := range []string{"stable", "1.2.3_rc1"} {
		ref, err := name.ParseReference(strings.TrimPrefix(at, imageScheme) + ":" + tag)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Get(ref, as("hunter2")...)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(golden, append(got.Manifest, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || string(got.Manifest)+"\n" != string(want) {
			t.Errorf("%v: %s is not what is made here (-update rewrites it):\n%s", err, golden, got.Manifest)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(got.Manifest, &m); err != nil {
			t.Fatal(err)
		}
		if m.ArtifactType != payloadArtifact || m.Config.MediaType != ocispec.MediaTypeEmptyJSON || len(m.Layers) != 5 {
			t.Errorf("it is %+v", m)
		}
		for _, l := range m.Layers {
			want, err := os.ReadFile(filepath.Join(dir, l.Annotations[ocispec.AnnotationTitle]))
			if err != nil {
				t.Fatal(err)
			}
			blob, err := os.ReadFile(filepath.Join(blobs, "sha256", l.Digest.Encoded()))
			if err != nil || !bytes.Equal(blob, want) {
				t.Errorf("%s is not what was pushed: %v", l.Annotations[ocispec.AnnotationTitle], err)
			}
		}
	}
}

// keychain has the same credentials for every registry.
type keychain authn.AuthConfig

// Resolve implements authn.Keychain.
func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig(k)), nil
}

func TestPushRefused(t *testing.T) {
	good := payloadFolder(t, "1.0^x")
	changed := payloadFolder(t, "1.0")
	if err := os.WriteFile(filepath.Join(changed, "root.erofs.zst"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ dir, to, want string }{
		"no scheme":  {good, "localhost:1/skerry", "is not where an image is"},
		"no host":    {good, "oci://skerry", "strict validation"},
		"bad tag":    {good, "oci://localhost:1/skerry:b c", "tag"},
		"digest":     {good, "oci://localhost:1/skerry@sha256:" + strings.Repeat("0", 64), "oci://localhost:1/skerry@sha256"},
		"no payload": {t.TempDir(), "oci://localhost:1/skerry", "is no payload"},
		"changed":    {changed, "oci://localhost:1/skerry", "make the payload again"},
		"no tag":     {good, "oci://localhost:1/skerry", "can't be a tag"},
	} {
		if _, err := pushPayload(t.Context(), test.dir, test.to); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}
