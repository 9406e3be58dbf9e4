// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var testTime = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func testOptions() Options {
	return Options{
		NodeName:      "server-1.example.org",
		NodeIPs:       []net.IP{net.ParseIP("192.0.2.10"), net.ParseIP("2001:db8::10")},
		TLSSANs:       []string{"k8s.example.org", "192.0.2.99"},
		ServiceIP:     net.ParseIP("10.43.0.1"),
		ClusterDomain: "cluster.local",
		Now:           func() time.Time { return testTime },
	}
}

func ensure(t *testing.T, dir string, opts Options) *Bundle {
	t.Helper()
	b, err := Ensure(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readCert(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	certs, err := parseCertificates(read(t, file))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return certs[0]
}

// snapshot returns the content of every file below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			name, _ := filepath.Rel(dir, path)
			files[name] = string(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestEnsureContract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "server")
	b := ensure(t, dir, testOptions())
	for _, tc := range []struct {
		file, ca, cn string
		org          []string
		usage        x509.ExtKeyUsage
	}{
		{"client-admin", "client-ca", "system:admin", masters, x509.ExtKeyUsageClientAuth},
		{"client-supervisor", "client-ca", "system:k3s-supervisor", masters, x509.ExtKeyUsageClientAuth},
		{"client-controller", "client-ca", "system:kube-controller-manager", nil, x509.ExtKeyUsageClientAuth},
		{"client-scheduler", "client-ca", "system:kube-scheduler", nil, x509.ExtKeyUsageClientAuth},
		{"client-kube-apiserver", "client-ca", "system:apiserver", masters, x509.ExtKeyUsageClientAuth},
		{"client-k3s-cloud-controller", "client-ca", "k3s-cloud-controller-manager", nil, x509.ExtKeyUsageClientAuth},
		{"client-auth-proxy", "request-header-ca", "system:auth-proxy", nil, x509.ExtKeyUsageClientAuth},
		{"serving-kube-apiserver", "server-ca", "kube-apiserver", nil, x509.ExtKeyUsageServerAuth},
		{"serving-supervisor", "server-ca", "k3s", []string{"k3s"}, x509.ExtKeyUsageServerAuth},
		{"kube-scheduler/kube-scheduler", "server-ca", "kube-scheduler", nil, x509.ExtKeyUsageServerAuth},
		{"kube-controller-manager/kube-controller-manager", "server-ca", "kube-controller-manager", nil, x509.ExtKeyUsageServerAuth},
	} {
		t.Run(tc.file, func(t *testing.T) {
			cert := readCert(t, b.TLSFile(tc.file+".crt"))
			ca := readCert(t, b.TLSFile(tc.ca+".crt"))
			if err := cert.CheckSignatureFrom(ca); err != nil {
				t.Error(err)
			}
			if cert.Subject.CommonName != tc.cn || !slices.Equal(cert.Subject.Organization, tc.org) {
				t.Errorf("subject %s", cert.Subject)
			}
			if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{tc.usage}) {
				t.Errorf("usage %v", cert.ExtKeyUsage)
			}
			if got := cert.NotAfter.Sub(testTime); got != leafLifetime {
				t.Errorf("valid for %v", got)
			}
			if cert.NotBefore.After(testTime) || cert.NotBefore.Before(ca.NotBefore) {
				t.Errorf("valid from %v", cert.NotBefore)
			}
			key, err := readKey(b.TLSFile(tc.file + ".key"))
			if err != nil {
				t.Fatal(err)
			}
			if ec, ok := key.(*ecdsa.PrivateKey); !ok || ec.Curve != elliptic.P256() {
				t.Errorf("key is a %T", key)
			}
		})
	}
	for _, name := range []string{"k8s.example.org", "192.0.2.99", "127.0.0.1", "::1", "localhost", "server-1.example.org",
		"server-1", "192.0.2.10", "2001:db8::10", "10.43.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local"} {
		for _, leaf := range []string{"serving-kube-apiserver", "serving-supervisor"} {
			if err := readCert(t, b.TLSFile(leaf+".crt")).VerifyHostname(name); err != nil {
				t.Errorf("%s: %v", leaf, err)
			}
		}
	}
	ca := readCert(t, b.TLSFile("client-ca.crt"))
	if want := "k3s-client-ca@1793534400"; ca.Subject.CommonName != want {
		t.Errorf("authority is called %s, want %s", ca.Subject.CommonName, want)
	}
	if ca.NotAfter.Sub(testTime) != caLifetime {
		t.Errorf("authority expires %v", ca.NotAfter)
	}
	service, err := readKey(b.TLSFile("service.key"))
	if err != nil {
		t.Fatal(err)
	}
	if rsa, ok := service.(*rsa.PrivateKey); !ok || rsa.N.BitLen() != 2048 {
		t.Errorf("service account key is a %T", service)
	}

	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, infoErr := d.Info()
		if err := errors.Join(err, infoErr); err != nil {
			return err
		}
		want := fs.FileMode(0o644)
		switch {
		case d.IsDir():
			want = fs.ModeDir | 0o700
		case filepath.Ext(path) == ".key":
			want = 0o600
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEnsureTwiceChangesNothing(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, testOptions())
	before := snapshot(t, dir)
	ensure(t, dir, testOptions())
	for name, content := range snapshot(t, dir) {
		if before[name] != content {
			t.Errorf("%s changed", name)
		}
	}
}

func TestLeafIsReissued(t *testing.T) {
	const leaf = "serving-kube-apiserver"
	for name, tc := range map[string]struct {
		change  func(t *testing.T, dir string, o *Options)
		reissue bool
		newKey  bool
	}{
		"121 days before expiry": {change: at(leafLifetime - 121*24*time.Hour)},
		"119 days before expiry": {change: at(leafLifetime - 119*24*time.Hour), reissue: true},
		"expired":                {change: at(leafLifetime + time.Hour), reissue: true},
		"clock far behind":       {change: at(-5 * 365 * 24 * time.Hour)},
		"another SAN":            {change: func(_ *testing.T, _ string, o *Options) { o.TLSSANs = append(o.TLSSANs, "new.example.org") }, reissue: true},
		"one SAN fewer":          {change: func(_ *testing.T, _ string, o *Options) { o.TLSSANs = nil }, reissue: true},
		"SANs in other order":    {change: func(_ *testing.T, _ string, o *Options) { slices.Reverse(o.TLSSANs) }},
		"another address":        {change: func(_ *testing.T, _ string, o *Options) { o.NodeIPs[0] = net.ParseIP("192.0.2.11") }, reissue: true},
		"certificate missing":    {change: remove(leaf + ".crt"), reissue: true},
		"certificate empty":      {change: truncate(leaf+".crt", 0), reissue: true},
		"certificate truncated":  {change: truncate(leaf+".crt", 300), reissue: true},
		"key missing":            {change: remove(leaf + ".key"), reissue: true, newKey: true},
		"key empty":              {change: truncate(leaf+".key", 0), reissue: true, newKey: true},
		"key truncated":          {change: truncate(leaf+".key", 100), reissue: true, newKey: true},
		// What a power cut between the two writes leaves behind.
		"pair mismatch": {change: func(t *testing.T, dir string, _ *Options) {
			if _, err := createKey(filepath.Join(dir, "tls", leaf+".key")); err != nil {
				t.Fatal(err)
			}
		}, reissue: true, newKey: true},
		"another authority": {change: func(t *testing.T, dir string, o *Options) {
			for _, ext := range []string{".crt", ".key"} {
				remove("server-ca"+ext)(t, dir, o)
			}
		}, reissue: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, opts := t.TempDir(), testOptions()
			b := ensure(t, dir, opts)
			cert, key := read(t, b.TLSFile(leaf+".crt")), read(t, b.TLSFile(leaf+".key"))
			tc.change(t, dir, &opts)
			b = ensure(t, dir, opts)
			if got := !bytes.Equal(cert, read(t, b.TLSFile(leaf+".crt"))); got != tc.reissue {
				t.Errorf("issued anew: %v, want %v", got, tc.reissue)
			}
			if got := !bytes.Equal(key, read(t, b.TLSFile(leaf+".key"))); got != tc.newKey {
				t.Errorf("new key: %v, want %v", got, tc.newKey)
			}
			got := readCert(t, b.TLSFile(leaf+".crt"))
			if !b.server.issued(got) {
				t.Error("not signed by the server authority")
			}
			newer, err := readKey(b.TLSFile(leaf + ".key"))
			if err != nil || !samePublicKey(newer.Public(), got.PublicKey) {
				t.Errorf("key doesn't belong to the certificate (%v)", err)
			}
		})
	}
}

func at(offset time.Duration) func(*testing.T, string, *Options) {
	return func(_ *testing.T, _ string, o *Options) { o.Now = func() time.Time { return testTime.Add(offset) } }
}

func remove(name string) func(*testing.T, string, *Options) {
	return func(t *testing.T, dir string, _ *Options) {
		if err := os.Remove(filepath.Join(dir, "tls", name)); err != nil {
			t.Fatal(err)
		}
	}
}

func truncate(name string, size int64) func(*testing.T, string, *Options) {
	return func(t *testing.T, dir string, _ *Options) {
		if err := os.Truncate(filepath.Join(dir, "tls", name), size); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedAuthorityIsAnErrorThatChangesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*testing.T, string, *Options)
		file   string
	}{
		"key missing":         {remove("client-ca.key"), "client-ca.key"},
		"key truncated":       {truncate("client-ca.key", 80), "client-ca.key"},
		"key empty":           {truncate("server-ca.key", 0), "server-ca.key"},
		"cert truncated":      {truncate("server-ca.crt", 200), "server-ca.crt"},
		"cert empty":          {truncate("request-header-ca.crt", 0), "request-header-ca.crt"},
		"service key damaged": {truncate("service.key", 50), "service.key"},
		"key of another": {func(t *testing.T, dir string, _ *Options) {
			tls := filepath.Join(dir, "tls")
			if err := os.WriteFile(filepath.Join(tls, "server-ca.key"), read(t, filepath.Join(tls, "client-ca.key")), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "server-ca.crt"},
		"a leaf for an authority": {func(t *testing.T, dir string, _ *Options) {
			tls := filepath.Join(dir, "tls")
			for _, ext := range []string{".crt", ".key"} {
				if err := os.Rename(filepath.Join(tls, "client-admin"+ext), filepath.Join(tls, "client-ca"+ext)); err != nil {
					t.Fatal(err)
				}
			}
		}, "client-ca.crt"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, opts := t.TempDir(), testOptions()
			ensure(t, dir, opts)
			tc.change(t, dir, &opts)
			before := snapshot(t, dir)
			_, err := Ensure(dir, opts)
			var damaged *DamagedError
			if !errors.As(err, &damaged) || filepath.Base(damaged.File) != tc.file {
				t.Fatalf("got %v, want a DamagedError about %s", err, tc.file)
			}
			if after := snapshot(t, dir); len(after) != len(before) || after["tls/"+tc.file] != before["tls/"+tc.file] {
				t.Error("files changed")
			}
		})
	}
}

// A first start interrupted after the authority's key was written goes on with
// that key.
func TestAuthorityKeyAloneIsCompleted(t *testing.T) {
	dir := t.TempDir()
	b := ensure(t, dir, testOptions())
	key := read(t, b.TLSFile("client-ca.key"))
	remove("client-ca.crt")(t, dir, nil)
	b = ensure(t, dir, testOptions())
	if !bytes.Equal(key, read(t, b.TLSFile("client-ca.key"))) {
		t.Error("the key was replaced")
	}
	if cert := readCert(t, b.TLSFile("client-admin.crt")); !b.client.issued(cert) {
		t.Error("certificates weren't issued by the completed authority")
	}
}

func TestServiceKeyKeepsOlderKeys(t *testing.T) {
	dir := t.TempDir()
	b := ensure(t, dir, testOptions())
	newer := t.TempDir()
	ensure(t, newer, testOptions())
	first := read(t, filepath.Join(newer, "tls", "service.key"))
	both := append(slices.Clone(first), read(t, b.TLSFile("service.key"))...)
	if err := os.WriteFile(b.TLSFile("service.key"), both, 0o600); err != nil {
		t.Fatal(err)
	}
	ensure(t, dir, testOptions())
	if !bytes.Equal(read(t, b.TLSFile("service.current.key")), first) {
		t.Error("tokens aren't signed with the first key")
	}
	if !bytes.Equal(read(t, b.TLSFile("service.key")), both) {
		t.Error("service.key was rewritten")
	}
}

func TestUnsetClockIsRefused(t *testing.T) {
	dir, opts := t.TempDir(), testOptions()
	opts.Now = func() time.Time { return time.Unix(3600, 0) }
	if _, err := Ensure(dir, opts); err == nil {
		t.Fatal("certificates dated 1970")
	}
	if files := snapshot(t, dir); len(files) != 0 {
		t.Errorf("files were written: %v", files)
	}
}

// A server that runs for years renews its certificates by itself.
func TestRenew(t *testing.T) {
	dir := t.TempDir()
	now := testTime
	opts := testOptions()
	opts.Now = func() time.Time { return now }
	b := ensure(t, dir, opts)
	admin := filepath.Join(dir, "tls", "client-admin.crt")
	first := read(t, admin)
	serving, err := b.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		after   time.Duration // of the first
		renewed bool
	}{
		{244 * day, false},
		{246 * day, true},
		{247 * day, false},
		{246*day + 366*day, true}, // the machine has slept
		{5 * 365 * day, true},
	} {
		before := read(t, admin)
		now = testTime.Add(tt.after)
		files, err := b.Renew()
		if err != nil {
			t.Fatal(err)
		}
		if renewed := slices.Contains(files, admin); renewed != tt.renewed {
			t.Errorf("after %s: renewed %v, want %s among them = %t", tt.after, files, admin, tt.renewed)
		}
		if changed := !bytes.Equal(before, read(t, admin)); changed != tt.renewed {
			t.Errorf("after %s: the file changed = %t", tt.after, changed)
		}
		if cert := readCert(t, admin); !now.Before(cert.NotAfter) {
			t.Errorf("after %s the certificate is of %s", tt.after, cert.NotAfter)
		}
	}
	later, err := b.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(serving.Certificate[0], later.Certificate[0]) || bytes.Equal(first, read(t, admin)) {
		t.Error("the supervisor serves the first certificate still")
	}
	if !serving.PrivateKey.(*ecdsa.PrivateKey).Equal(later.PrivateKey) {
		t.Error("the key has changed: what was written in between two power cuts would not match")
	}
	// A disk that can't be written says so, and is tried again.
	if err := os.RemoveAll(filepath.Join(dir, "tls")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(300 * day)
	for range 2 {
		if _, err := b.Renew(); err == nil {
			t.Error("nothing could be written, and nobody was told")
		}
	}
}
