// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const (
	hostRelease = "ID=skerry\nVERSION_ID=\"1.0\"\nSYSEXT_LEVEL=1\n"
	// damaged is in images that systemd refuses.
	damaged = "DAMAGED"
)

// machine is one in a folder, with a systemd-sysext that knows images of these tests, and a server of them.
type machine struct {
	*Set
	t       *testing.T
	signer  string // the certificate that is trusted
	served  map[string][]byte
	asked   []string // of the server
	merges  int      // of /usr
	refuses bool     // systemd-sysext, whatever it is to merge
	log     strings.Builder
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, served: map[string][]byte{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked = append(m.asked, r.URL.Path)
		data, ok := m.served[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(server.Close)
	m.Set = &Set{Root: t.TempDir(), Run: m.run, Client: server.Client(), Log: slog.New(slog.NewTextHandler(&m.log, nil))}
	m.Client.Transport = rewrite{server.URL}
	m.write(releaseFile, []byte(hostRelease))
	m.signer = m.trust("/usr/lib/verity.d/ours.crt")
	return m
}

// rewrite sends all requests to one server.
type rewrite struct{ to string }

func (r rewrite) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(r.to, "http://")
	return http.DefaultTransport.RoundTrip(req)
}

func (m *machine) write(name string, data []byte) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), data, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// trust writes a certificate, and returns its fingerprint.
func (m *machine) trust(name string) string {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// image is a partition table, a signature, and what the image says of itself.
func image(signer, release string) []byte {
	data := make([]byte, 40*sector)
	copy(data[sector:], tableMagic)
	binary.LittleEndian.PutUint64(data[sector+72:], 2)
	binary.LittleEndian.PutUint32(data[sector+80:], 4)
	binary.LittleEndian.PutUint32(data[sector+84:], 128)
	entry := data[2*sector+128:]
	signatureType := signatureTypes[runtime.GOARCH]
	copy(entry, signatureType[:])
	binary.LittleEndian.PutUint64(entry[32:], 30)
	binary.LittleEndian.PutUint64(entry[40:], 37)
	text, err := json.Marshal(map[string]string{"certificateFingerprint": signer, "signature": "…"})
	if err != nil {
		panic(err) // of strings
	}
	copy(data[30*sector:], text)
	return append(data, release...)
}

func releaseOf(data []byte) string { return string(data[min(len(data), 40*sector):]) }

// run is env, systemd-sysext and its arguments.
func (m *machine) run(_ context.Context, program string, args ...string) (string, error) {
	if program != "/usr/bin/env" || args[0] != hierarchies || args[1] != "systemd-sysext" {
		return "", fmt.Errorf("%s %q was run", program, args)
	}
	args = args[2:]
	root, inspected := strings.CutPrefix(args[0], "--root=")
	verb := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "--") })
	switch args[verb] {
	case "merge", "refresh":
		if !slices.Contains(args, imagePolicy) {
			return "", errors.New("without a policy all is merged")
		}
		if inspected {
			return "", m.mergeBelow(root)
		}
		m.merges++
		return "", m.refresh()
	case "unmerge":
		if !inspected {
			m.write("/run/test-merged", nil)
			return "", nil
		}
		return "", os.RemoveAll(filepath.Join(root, "usr/lib/extension-release.d"))
	case "status":
		return m.statusText(), nil
	}
	return "", fmt.Errorf("systemd-sysext %q was run", args)
}

// mergeBelow is for one image.
func (m *machine) mergeBelow(root string) error {
	found, err := filepath.Glob(filepath.Join(root, "run/extensions/*.raw"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%q are to be looked at, %w", found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	release := releaseOf(data)
	if strings.Contains(release, damaged) || m.refuses {
		return errors.New("exit status 1: Failed to merge hierarchies")
	}
	name := strings.TrimSuffix(filepath.Base(found[0]), ".raw")
	if other, text, ok := strings.Cut(release, "!"); ok {
		name, release = other, text
	}
	dir := filepath.Join(root, "usr/lib/extension-release.d")
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "extension-release."+name), []byte(release), 0o644))
}

// refresh merges as systemd-sysext does: the first of a name, folders without a look at who made them.
func (m *machine) refresh() error {
	if m.refuses {
		return errors.New("exit status 1: Failed to merge hierarchies")
	}
	seen := map[string]bool{}
	var all []string
	for _, dir := range []string{volatileDir, linksDir, persistentDir} {
		entries, err := os.ReadDir(m.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			name := imageName(e.Name())
			if seen[name] {
				continue
			}
			seen[name] = true
			path := filepath.Join(m.path(dir), e.Name())
			if target, err := os.Readlink(path); err == nil {
				path = m.path(target)
			}
			if below, err := os.ReadDir(path); err == nil && len(below) == 0 {
				continue // it is a mask
			}
			all = append(all, name)
		}
	}
	m.write("/run/test-merged", []byte(strings.Join(all, " ")))
	return nil
}

func (m *machine) statusText() string {
	names := m.inUsr()
	if len(names) == 0 {
		return `[{"hierarchy":"/usr","extensions":"none","since":null}]`
	}
	text, err := json.Marshal(names)
	if err != nil {
		panic(err) // of strings
	}
	return `[{"hierarchy":"/usr","extensions":` + string(text) + `,"since":1}]`
}

// inUsr is what is merged.
func (m *machine) inUsr() []string {
	data, err := os.ReadFile(m.path("/run/test-merged"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// reboot forgets what is in memory.
func (m *machine) reboot() {
	m.t.Helper()
	for _, dir := range []string{"/run", "/etc"} {
		if err := os.RemoveAll(m.path(dir)); err != nil {
			m.t.Fatal(err)
		}
	}
	m.all, m.merges, m.asked = nil, 0, nil
}

func (m *machine) sweep(wanted []configschema.Extension) {
	m.t.Helper()
	if err := m.Sweep(m.t.Context(), wanted); err != nil {
		m.t.Error(err)
	}
}

// is applies a configuration and compares what comes of it: name, state and reason. After a ~ is what it has somewhere.
func (m *machine) is(mode Mode, wanted []configschema.Extension, want ...string) {
	m.t.Helper()
	got := m.Apply(m.t.Context(), wanted, mode)
	var rows []string
	for _, s := range got {
		rows = append(rows, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Name, s.State, s.Reason)))
	}
	ok := len(rows) == len(want)
	for i := 0; ok && i < len(rows); i++ {
		begins, has, partly := strings.Cut(want[i], "~")
		ok = rows[i] == want[i] || partly && strings.HasPrefix(rows[i], begins) && strings.Contains(rows[i], has)
	}
	if !ok {
		m.t.Errorf("the extensions are\n%s\nwant\n%s\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"), m.log.String())
	}
	var merged []string
	for _, s := range got {
		if s.State == Merged {
			merged = append(merged, s.Name)
		}
	}
	if in := m.inUsr(); !slices.Equal(slices.Sorted(slices.Values(in)), slices.Sorted(slices.Values(merged))) {
		m.t.Errorf("in /usr is %q, and the status says %q", in, merged)
	}
	if entries, err := os.ReadDir(filepath.Join(m.path(StoreDir), inspectName)); err == nil {
		m.t.Errorf("what was looked at is left: %v", entries)
	}
	parts, err := filepath.Glob(filepath.Join(m.path(StoreDir), "*/*"+partEnding))
	if err != nil || len(parts) > 0 {
		m.t.Errorf("left are %q, %v", parts, err)
	}
}
