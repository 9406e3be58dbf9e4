// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"strings"
	"testing"
)

func TestFits(t *testing.T) {
	host := Host{ID: "skerry", Version: "1.0", Level: "1"}
	for text, want := range map[string]string{
		"ID=skerry\nSYSEXT_LEVEL=1":                     "",
		"ID=skerry\nSYSEXT_LEVEL=\"1\"\n# VERSION_ID=9": "",
		"ID=skerry\nVERSION_ID='1.0'":                   "",
		"ID=skerry\nSYSEXT_LEVEL=1\nVERSION_ID=9":       "", // the level goes first
		"ID=_any": "",
		"ID=skerry\nSYSEXT_LEVEL=1\nARCHITECTURE=x86-64": "",
		"ID=skerry\nSYSEXT_LEVEL=1\nARCHITECTURE=_any":   "",
		"ID=skerry\nSYSEXT_LEVEL=1\nARCHITECTURE=arm64":  "architecture arm64",
		"ID=skerry\nSYSEXT_LEVEL=2":                      "SYSEXT_LEVEL=2",
		"ID=skerry\nVERSION_ID=1.1":                      "for Skerry 1.1",
		"ID=debian\nVERSION_ID=1.0":                      `the system "debian"`,
		"ID=skerry":                                      "neither",
		"":                                               `the system ""`,
		"ID=skerry\nSYSEXT_LEVEL=":                       "neither",
		"nonsense\n=\nID=skerry\nSYSEXT_LEVEL=1\nIMAGE_VERSION=\"": "",
	} {
		err := newRelease(text).Fits(host)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add("ID=skerry\nSYSEXT_LEVEL=\"1\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = newRelease(text).Fits(Host{ID: "skerry"})
	})
}
