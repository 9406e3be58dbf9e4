// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/tests/ociregistry"
)

// registryName is none that resolves: it is a mirror that is asked, so that nothing is sent off this machine.
const registryName = "registry.example.org"

// registryServer is a registry over TLS, and a client's configuration for it.
type registryServer struct {
	*ociregistry.Registry
	*httptest.Server
	t     *testing.T
	hosts string // containerd's config_path
}

func newRegistryServer(t *testing.T) *registryServer {
	t.Helper()
	s := &registryServer{Registry: ociregistry.New(t.TempDir()), t: t, hosts: t.TempDir()}
	s.Server = httptest.NewTLSServer(s.Registry)
	t.Cleanup(s.Close)
	s.ask(s.Certificate())
	return s
}

// ask has clients ask this server for what they think another has, and trust a certificate, if there is one.
func (s *registryServer) ask(cert *x509.Certificate) {
	s.t.Helper()
	toml := fmt.Sprintf("server = %q\n", s.URL)
	if cert != nil {
		ca := filepath.Join(s.hosts, "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o644); err != nil {
			s.t.Fatal(err)
		}
		toml += fmt.Sprintf("ca = %q\n", ca)
	}
	dir := filepath.Join(s.hosts, registryName)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(toml), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// push publishes a folder under tags, as `oras push` does, and returns the digest of each layer by its title.
func (s *registryServer) push(dir string, change func(*ocispec.Manifest), tags ...string) map[string]string {
	s.t.Helper()
	repository, err := name.NewRepository(s.Listener.Addr().String() + "/skerry")
	if err != nil {
		s.t.Fatal(err)
	}
	options := []remote.Option{remote.WithTransport(s.Client().Transport), remote.WithAuth(&authn.Basic{Username: s.User, Password: s.Password})}
	if s.User == "" {
		options[1] = remote.WithAuth(authn.Anonymous)
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.skerry.payload.v1", Config: ocispec.DescriptorEmptyJSON}
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	layers := map[string][]byte{"": []byte("{}")}
	digests := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			s.t.Fatal(err)
		}
		layers[e.Name()] = data
		digests[e.Name()] = digest.FromBytes(data).String()
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: "application/vnd.skerry.payload.file.v1", Digest: digest.FromBytes(data),
			Size: int64(len(data)), Annotations: map[string]string{ocispec.AnnotationTitle: e.Name()}})
	}
	for _, data := range layers {
		if err := remote.WriteLayer(repository, static.NewLayer(data, types.MediaType("application/octet-stream")), options...); err != nil {
			s.t.Fatal(err)
		}
	}
	if change != nil {
		change(&m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, tag := range tags {
		if err := remote.Put(repository.Tag(tag), pushed{text, types.MediaType(m.MediaType)}, options...); err != nil {
			s.t.Fatal(err)
		}
	}
	digests["manifest"] = digest.FromBytes(text).String()
	return digests
}

// pushed is a manifest as it is sent.
type pushed struct {
	text      []byte
	mediaType types.MediaType
}

func (p pushed) RawManifest() ([]byte, error)        { return p.text, nil }
func (p pushed) MediaType() (types.MediaType, error) { return p.mediaType, nil }

// from is what a machine reads of the registry.
func (s *registryServer) from(m *machine, what string) Source {
	s.t.Helper()
	m.Registries.HostsDir = s.hosts
	from, err := m.Source("oci://" + registryName + "/skerry" + what)
	if err != nil {
		s.t.Fatal(err)
	}
	return from
}

func TestRegistry(t *testing.T) {
	s := newRegistryServer(t)
	m := newMachine(t)
	pushed := s.push(m.payload("1.1.0"), nil, "1.1.0", "stable")
	for _, what := range []string{":1.1.0", ":stable", "@" + pushed["manifest"], ":stable@" + pushed["manifest"], ""} {
		from := s.from(m, what)
		offer, err := m.Check(t.Context(), from)
		if err != nil {
			t.Fatalf("%q: %v", what, err)
		}
		if offer.Version != "1.1.0" || !strings.HasSuffix(offer.Source, "@"+pushed["manifest"]) || strings.Count(offer.Source, "@") != 1 {
			t.Errorf("%q: the offer is %+v", what, offer)
		}
		again, err := m.Source(offer.Source)
		if err != nil || again.String() != offer.Source {
			t.Errorf("the source that is told is no source: %v", err)
		}
	}
	if _, err := m.Apply(t.Context(), s.from(m, ":stable"), Choice{}); err != nil {
		t.Fatal(err)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi skerry_1.1.0+3-0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
}

// TestRegistryVersions: without a tag it is the newest version, wherever in the list, and no candidate for a release.
func TestRegistryVersions(t *testing.T) {
	for _, page := range []int{0, 1, 2, 3} {
		s := newRegistryServer(t)
		s.Page = page
		m := newMachine(t)
		s.push(m.payload("1.9.0"), nil, "1.9.0", "stable")
		s.push(m.payload("1.10.0"), nil, "1.10.0", "zz")
		s.push(m.payload("2.0.0~rc1"), nil, "2.0.0_rc1", "Latest", "v3")
		offer, err := m.Check(t.Context(), s.from(m, ""))
		if err != nil {
			t.Fatalf("%d at a time: %v", page, err)
		}
		if got, want := strings.Join(offer.Versions, " "), "2.0.0~rc1 1.10.0 1.9.0"; offer.Version != "1.10.0" || got != want {
			t.Errorf("%d at a time: %s of %s is offered, want 1.10.0 of %s", page, offer.Version, got, want)
		}
	}
}

// TestRegistryLogIn: the credentials are those of skerry.registries, in either way that registries ask for them.
func TestRegistryLogIn(t *testing.T) {
	for _, tokens := range []bool{false, true} {
		s := newRegistryServer(t)
		m := newMachine(t)
		s.push(m.payload("1.1.0"), nil, "1.1.0")
		s.User, s.Password, s.Tokens = "robot", "hunter2", tokens
		for name, test := range map[string]struct {
			user, password string
			want           string
		}{
			"right": {"robot", "hunter2", ""},
			"wrong": {"robot", "hunter3", "skerry.registries"},
			"none":  {"", "", "skerry.registries"},
		} {
			for _, what := range []string{":1.1.0", ""} {
				asked := ""
				m.Registries.Credentials = func(host string) (string, string, error) {
					asked = host
					return test.user, test.password, nil
				}
				_, err := m.Check(t.Context(), s.from(m, what))
				if asked != s.Listener.Addr().String() {
					t.Errorf("%s, tokens %t: the credentials are asked for %q", name, tokens, asked)
				}
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s%q, tokens %t: got %v, want %q", name, what, tokens, err, test.want)
				}
				if err != nil && strings.Contains(err.Error(), "hunter") {
					t.Errorf("the password is told: %v", err)
				}
			}
		}
		m.Registries.Credentials = func(string) (string, string, error) { return s.User, s.Password, nil }
		if _, err := m.Apply(t.Context(), s.from(m, ""), Choice{}); err != nil {
			t.Errorf("tokens %t: %v", tokens, err)
		}
		m.Registries.Credentials = func(string) (string, string, error) { return "", "", errors.New("no such credential") }
		if _, err := m.Check(t.Context(), s.from(m, "")); err == nil || !strings.Contains(err.Error(), "no such credential") {
			t.Errorf("got %v", err)
		}
	}
}

// TestRegistryResumes: a download that is cut goes on where it was, and so it does in another process.
func TestRegistryResumes(t *testing.T) {
	fetchPause = time.Millisecond
	s := newRegistryServer(t)
	m := newMachine(t)
	dir := m.payload("1.2.0")
	pushed := s.push(dir, nil, "1.2.0")
	half := filepath.Join(m.Root, StagingDir, "1.2.0", "root.erofs.zst")
	data, err := os.ReadFile(filepath.Join(dir, "root.erofs.zst"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(half), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(half, data[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	s.Cuts, s.CutsAbove = 2, len(data)
	if _, err := m.Apply(t.Context(), s.from(m, ":1.2.0"), Choice{}); err != nil {
		t.Fatal(err)
	}
	if s.Cuts > 0 {
		t.Errorf("%d connections were not cut", s.Cuts)
	}
	if want := "GET /v2/skerry/blobs/" + pushed["root.erofs.zst"] + " bytes=9-"; !slices.Contains(s.Requests(), want) {
		t.Errorf("%q is not among %q", want, s.Requests())
	}
}

// TestRegistryLies: whatever a registry sends, nothing is changed by it.
func TestRegistryLies(t *testing.T) {
	fetchPause = time.Millisecond
	layer := func(m *ocispec.Manifest, title string) *ocispec.Descriptor {
		i := slices.IndexFunc(m.Layers, func(l ocispec.Descriptor) bool { return l.Annotations[ocispec.AnnotationTitle] == title })
		return &m.Layers[i]
	}
	titled := func(m *ocispec.Manifest, from, to string) { layer(m, from).Annotations[ocispec.AnnotationTitle] = to }
	spoil := func(title string, change func([]byte) []byte) func(*registryServer, map[string]string) {
		return func(s *registryServer, pushed map[string]string) {
			data, err := os.ReadFile(s.BlobFile(pushed[title]))
			if err != nil {
				s.t.Fatal(err)
			}
			if err := os.WriteFile(s.BlobFile(pushed[title]), change(data), 0o644); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, test := range map[string]struct {
		change   func(*ocispec.Manifest)
		spoil    func(*registryServer, map[string]string)
		what     string
		want     string
		unsigned bool
	}{
		"no signature":     {change: func(m *ocispec.Manifest) { titled(m, SignatureFile, "x") }, want: "not signed", unsigned: true},
		"wrong signature":  {spoil: spoil(SignatureFile, func(b []byte) []byte { return bytes.Replace(b, []byte("R"), []byte("S"), 2) }), want: "not signed", unsigned: true},
		"manifest changed": {spoil: spoil(ManifestFile, func(b []byte) []byte { return bytes.Replace(b, []byte("1.1.0"), []byte("6.6.6"), 1) }), want: "is not what key", unsigned: true},
		"no manifest":      {change: func(m *ocispec.Manifest) { titled(m, ManifestFile, "x") }, want: "no payload"},
		"hostile titles":   {change: func(m *ocispec.Manifest) { titled(m, ManifestFile, "../"+ManifestFile) }, want: "no payload"},
		"absolute title":   {change: func(m *ocispec.Manifest) { titled(m, "skerry.efi.zst", "/efi/skerry.efi.zst") }, want: "no layer has the title skerry.efi.zst"},
		"layer missing":    {spoil: func(s *registryServer, p map[string]string) { os.Remove(s.BlobFile(p["skerry.efi.zst"])) }, want: "skerry.efi.zst"},
		"layers swapped": {change: func(m *ocispec.Manifest) {
			titled(m, "skerry.efi.zst", "x")
			titled(m, "root.erofs.zst", "skerry.efi.zst")
			titled(m, "x", "root.erofs.zst")
		}, want: "fetch skerry.efi.zst"},
		"twice":                {change: func(m *ocispec.Manifest) { titled(m, "root.erofs.zst", "skerry.efi.zst") }, want: "two layers have the title"},
		"blob changed":         {spoil: spoil("root.erofs.zst", flip), want: "somebody has changed it"},
		"blob longer":          {spoil: spoil("root.erofs.zst", func(b []byte) []byte { return append(b, 0) }), want: "root.erofs.zst"},
		"blob truncated":       {spoil: spoil("root.erofs.zst", func(b []byte) []byte { return b[:len(b)-1] }), want: "root.erofs.zst"},
		"layer's size":         {change: func(m *ocispec.Manifest) { layer(m, "root.erofs.zst").Size = 3 }, want: "root.erofs.zst"},
		"negative size":        {change: func(m *ocispec.Manifest) { layer(m, "root.erofs.zst").Size = -3 }, want: "-3 bytes"},
		"layer's digest":       {change: func(m *ocispec.Manifest) { layer(m, "root.erofs.zst").Digest = "sha256:../../../etc/shadow" }, want: "invalid checksum"},
		"manifest of a digest": {what: "@", want: "the registry sends a manifest with digest"},
		"unknown tag":          {what: ":9.9.9", want: "not found"},
		"unknown digest":       {what: "@sha256:" + strings.Repeat("0", 64), want: "not found"},
		"elsewhere": {change: func(m *ocispec.Manifest) {
			layer(m, "skerry.efi.zst").URLs = []string{"http://192.0.2.1/x"}
			layer(m, "skerry.efi.zst").Digest = digest.FromString("x")
		}, want: "could not fetch content"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRegistryServer(t)
			m := newMachine(t)
			pushed := s.push(m.payload("1.1.0"), test.change, "1.1.0")
			if test.spoil != nil {
				test.spoil(s, pushed)
			}
			what := test.what
			switch what {
			case "":
				what = ":1.1.0"
			case "@":
				what += pushed["manifest"]
				s.Config.Handler = lyingManifest{s.Registry}
			}
			before := m.snapshot()
			_, err := m.Apply(t.Context(), s.from(m, what), Choice{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if errors.Is(err, ErrUnsigned) != test.unsigned {
				t.Errorf("%v is unsigned: %t", err, !test.unsigned)
			}
			if after := m.snapshot(); after != before || len(m.calls) > 0 {
				t.Errorf("something was changed:\n%s\n%s\n%v", before, after, m.calls)
			}
		})
	}
}

// lyingManifest sends another manifest than the one that was asked for, with one digit changed.
type lyingManifest struct{ honest http.Handler }

func (l lyingManifest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/manifests/") || r.Method != http.MethodGet {
		l.honest.ServeHTTP(w, r)
		return
	}
	recorder := httptest.NewRecorder()
	l.honest.ServeHTTP(recorder, r)
	for key, values := range recorder.Header() {
		w.Header()[key] = values
	}
	_, _ = w.Write(bytes.Replace(recorder.Body.Bytes(), []byte(`"size":`), []byte(`"Size":`), 1))
}

// TestRegistryAsked: what can't be asked is told, with what to do where that is known.
func TestRegistryAsked(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(s *registryServer, m *machine)
		what string
		want string
		is   error
	}{
		"no repository":  {what: "-x", want: "no such repository", is: fs.ErrNotExist},
		"no version":     {set: func(s *registryServer, m *machine) { s.push(m.payload("1.1.0"), nil, "stable", "_x", "-") }, want: "name one"},
		"stranger's TLS": {set: func(s *registryServer, _ *machine) { s.ask(nil) }, what: ":1", want: "unknown authority"},
		"image": {set: func(s *registryServer, m *machine) {
			s.push(m.payload("1.1.0"), func(i *ocispec.Manifest) { i.Layers = nil }, "1")
		}, what: ":1", want: "no payload", is: fs.ErrNotExist},
		"index": {set: func(s *registryServer, m *machine) {
			s.push(m.payload("1.1.0"), func(i *ocispec.Manifest) { i.MediaType, i.Layers = ocispec.MediaTypeImageIndex, nil }, "1")
		}, what: ":1", want: "of one architecture"},
		"not there": {set: func(s *registryServer, _ *machine) { s.Close() }, want: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRegistryServer(t)
			m := newMachine(t)
			if test.set != nil {
				test.set(s, m)
			}
			_, err := m.Check(t.Context(), s.from(m, test.what))
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestPayloadArtifact: what the builder publishes is what is read here.
func TestPayloadArtifact(t *testing.T) {
	text, err := os.ReadFile("../../image/build/testdata/artifact.json")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filesOf(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ManifestFile, SignatureFile, "root.erofs.zst", "root.verity.zst", "skerry.efi.zst"} {
		if files[name].Size == 0 {
			t.Errorf("%s is not there: %v", name, files)
		}
	}
}

// FuzzArtifact: of any manifest, only titled layers with a digest and a size come out.
func FuzzArtifact(f *testing.F) {
	f.Add([]byte(`{"layers":[{"digest":"sha256:` + strings.Repeat("0", 64) + `","size":3,"annotations":{"org.opencontainers.image.title":"manifest.json"}}]}`))
	f.Add([]byte(`{"layers":[{"digest":"x","annotations":{"org.opencontainers.image.title":"../manifest.json"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := filesOf(data)
		if (err == nil) == (files == nil) {
			t.Fatalf("%v, %v", files, err)
		}
		for title, d := range files {
			if title == "" || d.Digest.Validate() != nil || d.Size < 0 || len(d.URLs) > 0 {
				t.Errorf("%q is %+v", title, d)
			}
		}
	})
}
