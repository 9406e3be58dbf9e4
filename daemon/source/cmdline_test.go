// SPDX-License-Identifier: Apache-2.0

package source

import (
	"path/filepath"
	"strings"
	"testing"
)

const digest0 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		line                           string
		url, digest, source, seed, err string
		given                          Given
	}{
		{line: "root=/dev/sda quiet\n"},
		{line: "config_url=https://a.example/x.yaml", url: "https://a.example/x.yaml"},
		{line: `"config_url=https://a.example/x y.yaml" quiet`, url: "https://a.example/x%20y.yaml"},
		{line: "cloud-config-url=http://a.example/x#sha256=" + digest0, url: "http://a.example/x", digest: strings.ToLower(digest0)},
		{line: "config_url=https://a.example/1 config_url=https://a.example/2", url: "https://a.example/2"},
		{line: "config_url=https://a.example/1 -- config_url=https://a.example/2", url: "https://a.example/1"},
		{line: "config_url=https://a.example/x#md5=00", err: "config_url: what follows # must be sha256="},
		{line: "config_url=https://a.example/x#sha256=00", err: "64 hexadecimal digits"},
		{line: "config_url=file:///etc/passwd", err: "put it as user-data on a volume labelled cidata"},
		{line: "config_url=tftp://a.example/x", err: "must begin with https://"},
		{line: "config_url=a.example/x", err: "must begin with https://"},
		{line: "config_url=https:///x", err: "names no host"},
		{line: "config_url=http://user:secret@a\x7f", err: "is not a URL"},
		{line: "config_url=", err: "must begin with"},
		{line: "ds=nocloud", source: "nocloud"},
		{line: "ds=NoCloud-Net;seedfrom=https://a.example/s/", source: "nocloud", seed: "https://a.example/s/"},
		{line: `"ds=nocloud;s=http://10.0.2.2/;h=node-1;i=i-1"`, source: "nocloud", seed: "http://10.0.2.2/", given: Given{"i-1", "node-1"}},
		{line: "ds=nocloud;i=i-1;local-hostname=b config_url=https://a.example/x", source: "nocloud", url: "https://a.example/x", given: Given{"i-1", "b"}},
		{line: "ds=nocloud;s=file:///x", err: "ds: s: a file is not read"},
		{line: "ds=nocloud;s=https://a.example/#sha256=" + digest0, err: "use config_url"},
		{line: "ds=nocloud;x=1", err: `"x=1": nocloud takes`},
		{line: "ds=ec2;s=http://a.example/", err: "only nocloud takes more"},
		{line: "ds=", err: "names no source"},
		{line: "ds=Ec2", source: "ec2"},
		{line: "ds=nocloud;s=https://a.example/ config_url=https://a.example/x", err: "both name a cloud-config"},
	} {
		t.Run(test.line, func(t *testing.T) {
			got, err := parseCommandLine(test.line)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var url, seed string
			if got.ConfigURL != nil {
				url = got.ConfigURL.String()
			}
			if got.Seed != nil {
				seed = got.Seed.String()
			}
			if url != test.url || got.SHA256 != test.digest || got.Source != test.source || seed != test.seed || got.Given != test.given {
				t.Errorf("got %+v, URL %q, seed %q", got, url, seed)
			}
		})
	}
}

// TestSerialNumber: a virtual machine is pointed at its seed by its firmware,
// unless the kernel command line says something.
func TestSerialNumber(t *testing.T) {
	const serial = "ds=nocloud;s=http://10.0.2.2:8000/"
	for _, test := range []struct{ line, serial, seed, err string }{
		{line: "quiet\n", serial: serial, seed: "http://10.0.2.2:8000/"},
		{line: "ds=none\n", serial: serial},
		{line: "quiet\n", serial: "ABC123"},
		{line: "quiet\n", serial: "ds=nocloud;s=gopher://x", err: "serial number of the machine"},
		{line: "ds=nocloud;q=1\n", serial: serial, err: "kernel command line"},
	} {
		path := filepath.Join(t.TempDir(), "cmdline")
		write(t, path, test.line)
		got, err := readCommandLine(path, test.serial)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q, %q: got %v", test.line, test.serial, err)
			}
			continue
		}
		if err != nil || (got.Seed == nil) != (test.seed == "") || got.Seed != nil && got.Seed.String() != test.seed {
			t.Errorf("%q, %q: got %+v, %v", test.line, test.serial, got, err)
		}
	}
}

func FuzzCommandLine(f *testing.F) {
	for _, seed := range []string{
		"root=/dev/sda quiet", `"ds=nocloud;s=http://10.0.2.2/;h=a;i=b"`, "config_url=https://a.example/x#sha256=" + digest0, `a="b c`, "ds=;;;", "-- ds=ec2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line, err := parseCommandLine(text)
		if err != nil {
			return
		}
		if line.ConfigURL != nil && (line.ConfigURL.Host == "" || line.Seed != nil) || line.SHA256 != "" && len(line.SHA256) != 64 {
			t.Errorf("%q: %+v", text, line)
		}
		if line.Seed != nil && line.Source != "nocloud" {
			t.Errorf("%q: a seed for %q", text, line.Source)
		}
	})
}
