// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// of is a build of a profile from this tree, or from another.
func of(profile, repo string) *build {
	return &build{options: options{profile: profile, repo: repo}, arch: architectures[defaultArchitecture], versions: versions{"SKERRY_VERSION": "1.2.3"}}
}

func TestProfileNames(t *testing.T) {
	for profile, want := range map[string][3]string{
		"cloud": {"skerry-1.2.3-" + defaultArchitecture + ".iso", "SHA256SUMS", "manifest.json"},
		"metal": {"skerry-metal-1.2.3-" + defaultArchitecture + ".iso", "SHA256SUMS.metal", "manifest.metal.json"},
	} {
		b := of(profile, "../..")
		if err := b.checkProfile(); err != nil {
			t.Error(err)
		}
		if got := [3]string{b.fileName("iso"), b.ownName(sumsFile), b.ownName(manifestFile)}; got != want {
			t.Errorf("%s: got %q, want %q", profile, got, want)
		}
		if release := b.osRelease(); !strings.Contains(release, "\nVARIANT_ID="+profile+"\n") {
			t.Errorf("%s: os-release is %s", profile, release)
		}
	}
	if err := of("plastic", "../..").checkProfile(); err == nil || !strings.Contains(err.Error(), "cloud, metal") {
		t.Errorf("a profile that isn't there: %v", err)
	}
}

func TestProfileLists(t *testing.T) {
	for name, test := range map[string]struct {
		own, want, fails string
	}{
		"none":          {"", "kernel less", ""},
		"other":         {"-kernel # no\nmore # more\n", "less more", ""},
		"not there":     {"-colonel # no\n", "", "takes away what isn't there"},
		"there already": {"less # again\n", "", "is there already"},
		"no reason":     {"-kernel\n", "", "has no reason"},
	} {
		t.Run(name, func(t *testing.T) {
			b := of("metal", t.TempDir())
			files := map[string]string{"packages": "kernel # boots\nless # reads\n"}
			if test.own != "" {
				files["profiles/metal/packages"] = test.own
			}
			for file, text := range files {
				if err := writeFile(b.source(filepath.Join("image", file)), text); err != nil {
					t.Fatal(err)
				}
			}
			got, err := b.list("packages")
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("got %q, %v, want the error %q", got, err, test.fails)
				}
				return
			}
			if err != nil || strings.Join(got, " ") != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
			b.profile = defaultProfile
			if got, err := b.list("packages"); err != nil || !slices.Equal(got, []string{"kernel", "less"}) {
				t.Errorf("the list of cloud is %q, %v", got, err)
			}
		})
	}
}

// TestProfileCache: results of a profile push none of another out, and what is of no profile is made once.
func TestProfileCache(t *testing.T) {
	cloud, metal := of("cloud", ""), of("metal", "")
	for _, s := range []string{"base", "root", "iso"} {
		if cloud.cacheName(s) != s || strings.HasPrefix(metal.cacheName(s), s) {
			t.Errorf("%s is %s and %s", s, cloud.cacheName(s), metal.cacheName(s))
		}
	}
	for _, s := range allProfiles {
		if metal.cacheName(s) != s {
			t.Errorf("%s is %s", s, metal.cacheName(s))
		}
	}
}
