// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const toolRelease = "ID=skerry\nSYSEXT_LEVEL=1\nARCHITECTURE=x86-64\nIMAGE_VERSION=6.1\n"

func tool(url string) []configschema.Extension {
	return []configschema.Extension{{Name: "tool", URL: url}}
}

func TestKeptForBootsWithoutNetwork(t *testing.T) {
	m := newMachine(t)
	wanted := tool("http://x.example/tool.raw")
	m.served["/tool.raw"] = image(m.signer, toolRelease)
	m.is(Offline, wanted, "tool waiting it is fetched once there is a network")
	if !m.Missing(wanted) || m.Missing(nil) {
		t.Error("it is not merged, and isn't missing")
	}
	m.is(Online, wanted, "tool merged")
	if m.Missing(wanted) || !m.Missing(append(wanted, configschema.Extension{Name: "other"})) {
		t.Error("it is merged, and missing")
	}
	if s := m.Status(); len(s) != 1 || s[0].Version != "6.1" || s[0].Source != wanted[0].URL {
		t.Errorf("the status is %+v", s)
	}
	m.is(Online, wanted, "tool merged")
	if m.merges != 1 || len(m.asked) != 1 {
		t.Errorf("it was merged %d times, and asked for %q", m.merges, m.asked)
	}
	m.served = nil
	m.reboot()
	m.is(Offline, wanted, "tool merged")
	m.is(Online, wanted, "tool merged")
	if m.merges != 1 || len(m.asked) != 0 {
		t.Errorf("after a boot it was merged %d times, and asked for %q", m.merges, m.asked)
	}
	m.is(Online, nil)
	m.is(Online, wanted, "tool merged") // it was taken out for a trial
	m.is(Online, nil)
	m.sweep(nil)
	if _, err := os.Stat(filepath.Join(m.path(StoreDir), "tool")); err == nil {
		t.Error("what left the configuration has left a copy")
	}
}

func TestNothingIsRunWithoutExtensions(t *testing.T) {
	m := newMachine(t)
	m.refuses = true
	m.is(Offline, nil)
	m.is(Online, nil)
	if m.merges != 0 {
		t.Error("systemd-sysext was run")
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		data func(m *machine) []byte
		want string
	}{
		"stranger": {func(m *machine) []byte { return image(strings.Repeat("ab", 32), toolRelease) },
			"tool refused~it is signed by the certificate abababababababab…, and trusted is"},
		"no table":      {func(*machine) []byte { return []byte("hello") }, "tool refused~it is no disk image"},
		"damaged":       {func(m *machine) []byte { return image(m.signer, damaged) }, "tool refused~systemd doesn't accept"},
		"other name":    {func(m *machine) []byte { return image(m.signer, "other!"+toolRelease) }, "tool refused~is tool its name?"},
		"other level":   {func(m *machine) []byte { return image(m.signer, "ID=skerry\nSYSEXT_LEVEL=2\n") }, "tool refused~SYSEXT_LEVEL=2, and Skerry 1.0 has 1"},
		"other version": {func(m *machine) []byte { return image(m.signer, "ID=skerry\nVERSION_ID=2.0\n") }, "tool refused~it is for Skerry 2.0, and this is 1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.served["/tool.raw"] = test.data(m)
			m.is(Online, tool("http://x.example/tool.raw"), test.want)
			if !strings.Contains(m.log.String(), "extension tool: refused") || len(m.Problems()) != 1 {
				t.Errorf("nobody is told: %s, %q", m.log.String(), m.Problems())
			}
			// It is not kept, and the server may have a better one by now.
			m.served["/tool.raw"] = image(m.signer, toolRelease)
			m.is(Online, tool("http://x.example/tool.raw"), "tool merged")
		})
	}
}

// TestCopyOfBefore: what can't be had doesn't take away what was there.
func TestCopyOfBefore(t *testing.T) {
	m := newMachine(t)
	m.served["/1.raw"] = image(m.signer, toolRelease)
	m.is(Online, tool("http://x.example/1.raw"), "tool merged")
	m.is(Online, tool("http://x.example/2.raw"), "tool merged it is the copy of before, for~404 Not Found")
	m.served["/2.raw"] = image(strings.Repeat("ab", 32), toolRelease)
	m.is(Online, tool("http://x.example/2.raw"), "tool merged it is the copy of before, for~it is signed by")
	m.served["/2.raw"] = image(m.signer, toolRelease+"#")
	m.is(Online, tool("http://x.example/2.raw"), "tool merged")
	m.sweep(tool("http://x.example/2.raw"))
	copies, err := filepath.Glob(filepath.Join(m.path(StoreDir), "tool/*.raw"))
	if err != nil || len(copies) != 1 {
		t.Errorf("kept are %q, %v", copies, err)
	}
	// A certificate that is trusted no longer takes all away that it has signed.
	m.reboot()
	m.trust("/usr/lib/verity.d/ours.crt")
	m.is(Offline, tool("http://x.example/2.raw"), "tool refused~it is signed by")
}

func TestDigest(t *testing.T) {
	m := newMachine(t)
	m.served["/tool.raw"] = image(m.signer, toolRelease)
	wanted := tool("http://x.example/tool.raw")
	wanted[0].SHA256 = strings.Repeat("0", 64)
	m.is(Online, wanted, "tool failed~and the cloud-config says 0000")
	if len(m.asked) != 1 {
		t.Errorf("it was asked for %q", m.asked)
	}
}

func TestFileOfTheMachine(t *testing.T) {
	m := newMachine(t)
	wanted := []configschema.Extension{{Name: "tool", Path: "/var/tool.raw"}}
	m.is(Online, wanted, "tool failed~no such file")
	m.write("/var/tool.raw", image(m.signer, toolRelease))
	m.is(Online, wanted, "tool merged")
	m.write("/var/tool.raw", image(m.signer, toolRelease+"IMAGE_VERSION=7\n"))
	if err := os.Chtimes(m.path("/var/tool.raw"), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	m.is(Online, wanted, "tool merged")
	if s := m.Status(); s[0].Version != "7" {
		t.Errorf("the file was replaced, and merged is %+v", s)
	}
	if err := os.Remove(m.path("/var/tool.raw")); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	m.is(Offline, wanted, "tool merged") // the medium is gone
	if err := os.Mkdir(m.path("/var/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.is(Online, []configschema.Extension{{Name: "folder", Path: "/var/folder"}}, "folder failed~is no file")
}

// TestForeign: systemd would merge a plain folder, signed by nobody.
func TestForeign(t *testing.T) {
	m := newMachine(t)
	m.served["/tool.raw"] = image(m.signer, toolRelease)
	for _, name := range []string{persistentDir + "/evil/usr/bin/evil", persistentDir + "/worse.raw", persistentDir + "/tool.raw.v/tool_9.raw",
		volatileDir + "/tool/usr/bin/tool", linksDir + "/other/usr/bin/other"} {
		m.write(name, nil)
	}
	why := " refused it is not in skerry.extensions of the cloud-config, and is not merged: "
	kept := []string{"evil" + why + persistentDir + "/evil", "tool" + why + persistentDir + "/tool.raw.v", "worse" + why + persistentDir + "/worse.raw"}
	m.is(Online, tool("http://x.example/tool.raw"), append([]string{"tool merged", "tool" + why + volatileDir + "/tool", "other" + why + linksDir + "/other"}, kept...)...)
	m.is(Online, nil, kept...) // what was in memory is gone
	if _, err := os.Stat(m.path(persistentDir + "/evil/usr/bin/evil")); err != nil {
		t.Error("what lies on DATA is somebody's, and stays")
	}
}

func TestSystemdFails(t *testing.T) {
	m := newMachine(t)
	m.served["/tool.raw"] = image(m.signer, toolRelease)
	wanted := tool("http://x.example/tool.raw")
	m.is(Online, wanted, "tool merged")
	m.reboot()
	run := m.Run
	m.Run = func(ctx context.Context, program string, args ...string) (string, error) {
		m.refuses = slices.Contains(args, "refresh")
		return run(ctx, program, args...)
	}
	m.is(Offline, wanted, "tool failed~Failed to merge hierarchies")
	m.Run, m.refuses = run, false
	m.is(Online, wanted, "tool merged")
}

// TestDamagedRecord: what is merged isn't known any more, so no upgrade is let through for having nothing to lose, and the next
// look merges anew.
func TestDamagedRecord(t *testing.T) {
	m := newMachine(t)
	m.served["/tool.raw"] = image(m.signer, toolRelease)
	wanted := tool("http://x.example/tool.raw")
	m.is(Online, wanted, "tool merged")
	if err := os.WriteFile(m.path(mergedFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := m.Misfits(t.Context(), wanted, Host{Version: "1.1", Level: "2"}); err == nil {
		t.Errorf("got %v", all)
	}
	m.is(Online, wanted, "tool merged")
	if all, err := m.Misfits(t.Context(), wanted, Host{Version: "1.1", Level: "2"}); err != nil || len(all) != 1 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestVersions(t *testing.T) {
	m := newMachine(t)
	m.Versions = func(context.Context) ([]string, error) { return []string{"1.0", "1.1"}, nil }
	wanted := []configschema.Extension{{Name: "driver", URL: "http://x.example/driver-{version}.raw"}, {Name: "tool", URL: "http://x.example/tool.raw"}}
	m.served["/tool.raw"] = image(m.signer, toolRelease)
	m.served["/driver-1.0.raw"] = image(m.signer, "ID=skerry\nVERSION_ID=1.0\n")
	m.is(Online, wanted, "driver merged", "tool merged")

	misfits := func(next Host, want ...string) {
		t.Helper()
		all, err := m.Misfits(t.Context(), wanted, next)
		var rows []string
		for _, s := range all {
			rows = append(rows, s.Name+" "+s.Reason)
		}
		if err != nil || len(rows) != len(want) || !slices.EqualFunc(rows, want, strings.Contains) {
			t.Errorf("misfits are %q, %v, want %q", rows, err, want)
		}
	}
	misfits(Host{Version: "1.1", Level: "2"}, "404 Not Found", "SYSEXT_LEVEL=1, and Skerry 1.1 has 2")
	misfits(Host{Version: "1.1"}, "404 Not Found", "doesn't say which it has")
	m.served["/driver-1.1.raw"] = image(m.signer, "ID=skerry\nVERSION_ID=1.1\n")
	misfits(Host{Version: "1.1", Level: "1"})
	wanted = append(wanted, configschema.Extension{Name: "stranger", URL: "http://x.example/tool.raw?"})
	misfits(Host{Version: "1.1", Level: "1"}) // it isn't merged, and can't be lost
	wanted = wanted[:2]
	m.served["/driver-1.2.raw"] = image(strings.Repeat("ab", 32), "ID=skerry\nVERSION_ID=1.2\n")
	misfits(Host{Version: "1.2", Level: "1"}, "it is signed by")
	m.served["/driver-1.2.raw"] = image(m.signer, "ID=skerry\nVERSION_ID=1.2\n")
	misfits(Host{Version: "1.2", Level: "1"}) // what was refused wasn't kept
	m.served = nil                            // they are there for the first boot, and for going back
	m.is(Online, wanted, "driver merged", "tool merged")
	m.sweep(wanted)
	for _, version := range []string{"1.1", "1.0"} {
		m.reboot()
		m.write(releaseFile, []byte("ID=skerry\nVERSION_ID="+version+"\nSYSEXT_LEVEL=1\n"))
		m.is(Offline, wanted, "driver merged", "tool merged")
		m.is(Online, wanted, "driver merged", "tool merged")
		m.sweep(wanted)
	}
}
