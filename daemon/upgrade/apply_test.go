// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/skerry-os/skerry/daemon/slot"
)

// snapshot is all that an upgrade may change, to see that it did not.
func (m *machine) snapshot() string {
	m.t.Helper()
	var b strings.Builder
	for _, name := range partNames {
		data, err := os.ReadFile(filepath.Join(m.Root, "/dev/"+name))
		if err != nil {
			m.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%+v %x\n", *m.parts[name], data[:8])
	}
	return b.String() + m.ukis() + fmt.Sprintf("%+v", m.remembered())
}

func TestApply(t *testing.T) {
	m := newMachine(t)
	before, err := os.ReadFile(filepath.Join(m.Root, "/dev/root-a"))
	if err != nil {
		t.Fatal(err)
	}
	offer, err := m.Apply(t.Context(), folder(m.payload("1.1.0")), Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if offer.Version != "1.1.0" || offer.Running != "1.0.0" || !offer.Newer || offer.Bytes == 0 {
		t.Errorf("the offer is %+v", offer)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi skerry_1.1.0+3-0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
	if after, err := os.ReadFile(filepath.Join(m.Root, "/dev/root-a")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the slot that runs was written: %v", err)
	}
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.All) != 2 || s.All[0].State != slot.Proven || !s.All[0].Running || s.All[1].State != slot.Trial || s.All[1].Version != "1.1.0" {
		t.Errorf("the slots are %+v", s.All)
	}
	if !strings.Contains(s.News, "1.1.0 is installed, and is tried at the next boot") {
		t.Errorf("the news are %q", s.News)
	}
	if _, err := os.Stat(filepath.Join(m.Root, StagingDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was fetched is still there: %v", err)
	}
	if r := m.remembered(); r.Trial == nil || !r.Trial.Installed || r.Trial.From != "1.0.0" || r.Trial.Deadline != 900 {
		t.Errorf("remembered is %+v", r.Trial)
	}
	// Again, and then another version into the same slot.
	for _, version := range []string{"1.1.0", "1.2.0"} {
		if _, err := m.Apply(t.Context(), folder(m.payload(version)), Choice{}); err != nil {
			t.Errorf("%s over the one that was not tried: %v", version, err)
		}
		if got, want := m.ukis(), "skerry_1.0.0.efi skerry_"+version+"+3-0.efi"; got != want {
			t.Errorf("the UKIs are %s, want %s", got, want)
		}
	}
}

// TestGRUB: on a disk with GRUB, what it starts has the version that comes; a kernel that it can't start is refused.
func TestGRUB(t *testing.T) {
	m := newMachine(t)
	m.write("/efi/"+slot.GRUBDir+"/.keep", nil)
	if _, err := m.Apply(t.Context(), folder(m.payload("1.1.0")), Choice{}); err == nil || !strings.Contains(err.Error(), "skerry_1.1.0.efi: it has no kernel") {
		t.Errorf("a UKI without a kernel: %v", err)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
	dir := t.TempDir()
	// Sections that every stub has are taken for these.
	whole := bytes.Replace(ukiOf(t, "1.2.0"), []byte(".text\x00\x00\x00"), []byte(".linux\x00\x00"), 1)
	whole = bytes.Replace(whole, []byte(".sdmagic"), []byte(".initrd\x00"), 1)
	payload := m.payload("1.2.0", func(manifest *Manifest) { manifest.Files.UKI = packed(t, dir, "skerry.efi.zst", whole) })
	if err := os.Rename(filepath.Join(dir, "skerry.efi.zst"), filepath.Join(payload, "skerry.efi.zst")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(t.Context(), folder(payload), Choice{}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadFile(filepath.Join(m.Root, "efi", slot.GRUBDir, "entries.cfg"))
	if err != nil || !strings.Contains(string(entries), "1.2.0") || strings.Contains(string(entries), "Without version 1.2.0") {
		t.Errorf("GRUB has %s, %v", entries, err)
	}
}

// TestNewerKubernetes: that an older Kubernetes may not read what a newer one writes is said before anything is fetched.
func TestNewerKubernetes(t *testing.T) {
	m := newMachine(t)
	for kubernetes, want := range map[string]bool{"v1.38.0": true, "v2.0.0": true, "v1.37.9": false, "v1.36.1": false, "v1.9.1": false, "odd": true} {
		m.Kubernetes = "v1.37.2"
		if got := m.noWayBack(&Manifest{Version: "1.1.0", Kubernetes: kubernetes}); (got != "") != want {
			t.Errorf("from %s to %s: %q", m.Kubernetes, kubernetes, got)
		}
	}
	m.Kubernetes = "v1.1.0" // older than what payloads have here
	offer, err := m.Check(t.Context(), folder(m.payload("1.1.0")))
	if err != nil || !strings.Contains(offer.NoWayBack, "snapshot") {
		t.Errorf("the offer is %+v, %v", offer, err)
	}
}

// TestRefused: nothing is changed by what doesn't fit, and the message says what it is.
func TestRefused(t *testing.T) {
	_, stranger, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(name string, change func([]byte) []byte) func(*machine, string) {
		return func(m *machine, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				m.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), change(data), 0o644); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	for name, test := range map[string]struct {
		version  string
		manifest func(*Manifest)
		spoil    func(m *machine, dir string)
		want     string
		unsigned bool
		refused  bool
	}{
		"unsigned":           {spoil: func(_ *machine, dir string) { os.Remove(filepath.Join(dir, SignatureFile)) }, want: "not signed", unsigned: true},
		"no signature":       {spoil: edit(SignatureFile, func([]byte) []byte { return []byte("trust me") }), want: "no signature of minisign's", unsigned: true},
		"manifest changed":   {spoil: edit(ManifestFile, func(b []byte) []byte { return bytes.Replace(b, []byte("1.1.0"), []byte("6.6.6"), 1) }), want: "is not what key", unsigned: true},
		"signed by stranger": {spoil: func(m *machine, _ string) { m.Keys = []string{publicOf(m.t, stranger)} }, want: "and trusted is", unsigned: true},
		"no key":             {spoil: func(m *machine, _ string) { m.Keys = nil }, want: "trusts no key", refused: true},
		"root changed":       {spoil: edit("root.erofs.zst", flip), want: "somebody has changed it"},
		"root longer":        {spoil: edit("root.erofs.zst", func(b []byte) []byte { return append(b, 0) }), want: "somebody has changed it"},
		"UKI changed":        {spoil: edit("skerry.efi.zst", flip), want: "somebody has changed it"},
		"UKI missing":        {spoil: func(_ *machine, dir string) { os.Remove(filepath.Join(dir, "skerry.efi.zst")) }, want: "skerry.efi.zst"},
		"unpacked otherwise": {manifest: func(m *Manifest) { m.Files.Verity.Unpacked.SHA256 = strings.Repeat("0", 64) }, want: "what is in root.verity.zst is not what the signed manifest says"},
		"runs already":       {version: "1.0.0", want: "runs already", refused: true},
		"another build":      {version: "1.0.0", manifest: func(m *Manifest) { m.RootHash = hashOf("x") }, want: "another build of 1.0.0", refused: true},
		"older":              {version: "0.9.0", want: "older than 1.0.0", refused: true},
		"too large":          {manifest: func(m *Manifest) { m.Files.Root.Unpacked.Size = slotSize + 1 }, want: "the slot for it", refused: true},
		"disk full":          {manifest: func(m *Manifest) { m.Files.UKI.Size = 1 << 60 }, want: "make room", refused: true},
		"other architecture": {manifest: func(m *Manifest) { m.Architecture = "pdp11" }, want: "is for pdp11", refused: true},
		"other profile":      {manifest: func(m *Manifest) { m.Profile = "metal" }, want: `is of the profile "metal", and this machine runs an image of the profile "cloud"`, refused: true},
		"format":             {manifest: func(m *Manifest) { m.Format = 2 }, want: "format 2", refused: true},
		"version":            {manifest: func(m *Manifest) { m.Version = "../1" }, want: "is none", refused: true},
		"path":               {manifest: func(m *Manifest) { m.Files.Root.Name = "../x" }, want: "not the name of a file", refused: true},
		"root hash":          {manifest: func(m *Manifest) { m.RootHash = "12" }, want: "no SHA-256", refused: true},
		"hash":               {manifest: func(m *Manifest) { m.Files.UKI.SHA256 = "zz" }, want: "doesn't say what skerry.efi.zst", refused: true},
		"label of another":   {spoil: func(m *machine, _ string) { m.parts["verity-a"].label = "x" }, want: `labelled "x"`, refused: true},
		"kernel of another":  {spoil: func(m *machine, _ string) { m.renameUKI("skerry_1.0.0.efi", "skerry_1.0.1.efi") }, want: "under its name", refused: true},
		"kernel not there":   {spoil: func(m *machine, _ string) { m.renameUKI("skerry_1.0.0.efi", "x.efi") }, want: "under its name", refused: true},
		"on trial": {spoil: func(m *machine, _ string) {
			m.renameUKI("skerry_1.0.0.efi", "skerry_1.0.0+2-1.efi")
			m.boot("1.0.0", true)
		}, want: "runs on trial", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			version := test.version
			if version == "" {
				version = "1.1.0"
			}
			dir := m.payload(version, func(p *Manifest) {
				if test.manifest != nil {
					test.manifest(p)
				}
			})
			if test.spoil != nil {
				test.spoil(m, dir)
			}
			before := m.snapshot()
			_, err := m.Apply(t.Context(), folder(dir), Choice{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			var refused *RefusedError
			if errors.As(err, &refused) != test.refused || errors.Is(err, ErrUnsigned) != test.unsigned {
				t.Errorf("%v is refused: %t, unsigned: %t", err, !test.refused, !test.unsigned)
			}
			if after := m.snapshot(); after != before || len(m.calls) > 0 {
				t.Errorf("something was changed:\n%s\n%s\n%v", before, after, m.calls)
			}
		})
	}
}

// TestDowngrade: the older version is tried first though it is older, and the newer one is the one to go back to.
func TestDowngrade(t *testing.T) {
	m := newMachine(t)
	if _, err := m.Apply(t.Context(), folder(m.payload("0.9.0")), Choice{Downgrade: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := m.ukis(), "skerry_0.9.0+3-0.efi skerry_1.0.0+0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
}

// TestInterrupted: a power cut while the slot is written leaves what runs, and says so; the next try succeeds.
func TestInterrupted(t *testing.T) {
	m := newMachine(t)
	m.broken = errors.New("power cut")
	dir := m.payload("1.1.0")
	if _, err := m.Apply(t.Context(), folder(dir), Choice{}); !errors.Is(err, m.broken) {
		t.Fatalf("got %v", err)
	}
	if got, want := m.ukis(), "skerry_1.0.0.efi"; got != want {
		t.Errorf("the UKIs are %s, want %s", got, want)
	}
	outcome, err := m.Settle(t.Context())
	if err != nil || outcome == nil || outcome.Result != Interrupted {
		t.Errorf("it ended as %v, %v", outcome, err)
	}
	m.broken = nil
	if _, err := m.Apply(t.Context(), folder(dir), Choice{}); err != nil {
		t.Error(err)
	}
}

// TestResumes: a download goes on where it was cut, and what is complete isn't fetched again.
func TestResumes(t *testing.T) {
	m := newMachine(t)
	fetchPause = time.Millisecond
	dir := m.payload("1.1.0")
	files := http.FileServer(http.Dir(dir))
	var ranges []string
	cut := 2
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/root.erofs.zst") {
			ranges = append(ranges, r.Header.Get("Range"))
			if cut--; cut >= 0 {
				data, err := os.ReadFile(filepath.Join(dir, "root.erofs.zst"))
				if err != nil {
					t.Error(err)
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(data)))
				_, _ = w.Write(data[:len(data)/(2+cut)])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}
		http.StripPrefix("/a/b", files).ServeHTTP(w, r)
	}))
	defer server.Close()
	from, err := m.Source(server.URL + "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(t.Context(), from, Choice{}); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 3 || ranges[0] != "" || ranges[1] == "" || ranges[2] == "" {
		t.Errorf("asked for the ranges %q", ranges)
	}
}

// TestBusy: two at once would write the same slot.
func TestBusy(t *testing.T) {
	m := newMachine(t)
	lock, err := m.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := m.Apply(t.Context(), folder(m.payload("1.1.0")), Choice{}); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}
