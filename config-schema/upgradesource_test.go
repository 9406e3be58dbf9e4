// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"io/fs"
	"strings"
	"testing"
)

// shown is a source in one line.
func (s UpgradeSource) shown() string {
	switch {
	case s.Web != nil:
		return "web " + s.Web.String()
	case s.Image != nil:
		return "image " + s.Image.String()
	case s.Volume != "":
		return "volume " + s.Volume + " " + s.Path
	}
	return "path " + s.Path
}

var upgradeSources = map[string]string{
	"https://example.org/a b":              "web https://example.org/a%20b",
	"http://user:pw@[::1]:8080":            "web http://user:pw@[::1]:8080",
	"oci://registry.example.org/a/b":       "image registry.example.org/a/b",
	"oci://registry.example.org/a:1.2_rc1": "image registry.example.org/a:1.2_rc1",
	"oci://localhost:5000/a":               "image localhost:5000/a",
	"oci://[2001:db8::1]:5000/a":           "image [2001:db8::1]:5000/a",
	"oci://docker.io/library/a":            "image docker.io/library/a",
	"oci://e.org/a@sha256:" + someDigest:   "image e.org/a@sha256:" + someDigest,
	"oci://e.org/a:1@sha256:" + someDigest: "image e.org/a:1@sha256:" + someDigest,
	"disk:":                                "volume SKERRY-NEXT .",
	"disk:/":                               "volume SKERRY-NEXT .",
	"disk:/a/b":                            "volume SKERRY-NEXT a/b",
	"disk:My_Stick.1/a//b/":                "volume My_Stick.1 a/b",
	"file:///a/b%20c":                      "path /a/b c",
	"/a":                                   "path /a",
	"../a.tar":                             "path ../a.tar",
	"c:d":                                  "path c:d",
	"":                                     "",
	"ftp://example.org/a":                  "",
	"https://":                             "",
	"https:///a":                           "",
	"HTTPS://example.org":                  "web https://example.org",
	"file://host/a":                        "",
	"file:///a?b":                          "",
	"oci://":                               "",
	"oci://a":                              "",
	"oci://a/b":                            "", // Docker's own form of docker.io/a/b
	"oci://example.org":                    "",
	"oci://example.org/":                   "",
	"oci://example.org/A":                  "",
	"oci://example.org/a:":                 "",
	"oci://example.org/a:b:c":              "",
	"oci://example.org/a@sha256:12":        "",
	"oci://example.org/../a":               "",
	"oci://example.org/a?b":                "",
	"oci://user:hunter2@example.org/a":     "",
	"https://user:hunter2@exa mple.org/a":  "",
	"ftp://user:hunter2@example.org/a":     "",
	"disk:a b":                             "",
	"disk:..":                              "",
	"disk:a/../../etc/passwd":              "",
	"disk:" + strings.Repeat("a", 33):      "",
}

var someDigest = strings.Repeat("0123456789abcdef", 4)

func TestParseUpgradeSource(t *testing.T) {
	for text, want := range upgradeSources {
		s, err := ParseUpgradeSource(text)
		if (err == nil) != (want != "") || err == nil && s.shown() != want {
			t.Errorf("%q: got %q, %v, want %q", text, s.shown(), err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is told: %v", text, err)
		}
	}
}

func FuzzUpgradeSource(f *testing.F) {
	for text := range upgradeSources {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseUpgradeSource(text)
		if err != nil {
			if s != (UpgradeSource{}) {
				t.Errorf("half of it: %+v", s)
			}
			return
		}
		n := 0
		for _, is := range []bool{s.Web != nil, s.Image != nil, s.Volume != ""} {
			if is {
				n++
			}
		}
		switch {
		case n > 1 || n == 0 && s.Path == "":
			t.Errorf("%q is %+v", text, s)
		case s.Volume != "" && (!fs.ValidPath(s.Path) || strings.ContainsAny(s.Volume, "/ \x00")):
			t.Errorf("%q leads out of the volume: %+v", text, s)
		case s.Image != nil:
			again, err := ParseUpgradeSource("oci://" + s.Image.String())
			if err != nil || again.Image.String() != s.Image.String() {
				t.Errorf("%q is %s, which is %v, %v", text, s.Image, again.Image, err)
			}
		}
	})
}

func TestCredentialsFor(t *testing.T) {
	r := &Registries{Configs: map[string]RegistryConfig{
		"a:5000":    {Auth: &RegistryAuth{Username: "u", Password: "p"}},
		"docker.io": {Auth: &RegistryAuth{Auth: "dTpwOng="}},
		"token":     {Auth: &RegistryAuth{IdentityToken: "t"}},
		"broken":    {Auth: &RegistryAuth{Auth: "dTpw!"}},
		"halves":    {Auth: &RegistryAuth{Auth: "dXA="}},
		"tls":       {},
	}}
	for host, want := range map[string][2]string{
		"a:5000": {"u", "p"}, "a": {}, "docker.io": {"u", "p:x"}, DockerHost: {"u", "p:x"}, "token": {"", "t"}, "tls": {},
	} {
		user, secret, err := r.CredentialsFor(host)
		if err != nil || user != want[0] || secret != want[1] {
			t.Errorf("%s: got %q, %q, %v", host, user, secret, err)
		}
	}
	for _, host := range []string{"broken", "halves"} {
		if _, _, err := r.CredentialsFor(host); err == nil || strings.Contains(err.Error(), "dT") || strings.Contains(err.Error(), "dX") {
			t.Errorf("%s: %v", host, err)
		}
	}
}
