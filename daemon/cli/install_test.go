// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/install"
	"github.com/skerry-os/skerry/daemon/source"
)

var testDisks = []install.Disk{
	{Path: "/dev/vda", Name: "vda", Bytes: 10 << 30, Model: "QEMU", Serial: "S1"},
	{Path: "/dev/vdb", Name: "vdb", Bytes: 20 << 30, Serial: "S2", Contents: `ext4 "data"`},
	{Path: "/dev/vdc", Name: "vdc", Bytes: 8 << 30, Contents: "iso9660", Unusable: "this system runs from it"},
}

// keptSource is the copy of the cloud-config that this boot has kept.
type keptSource struct{ document *source.Document }

func (keptSource) Name() string { return "state" }

func (k keptSource) Fetch(context.Context) (*source.Document, error) {
	if k.document == nil {
		return nil, source.ErrAbsent
	}
	return k.document, nil
}

// did is what an installation did.
type did struct {
	disk, after string
	wipe        bool
	userData    string
}

func installWith(t *testing.T, n installation, input string) (result did, out string, err error) {
	t.Helper()
	n.disks = func(context.Context) ([]install.Disk, error) { return testDisks, nil }
	n.install = func(_ context.Context, disk install.Disk, wipe bool, document *source.Document, _ *configschema.Storage) error {
		if disk.Contents != "" && !wipe {
			return install.ErrData
		}
		result.disk, result.wipe = disk.Path, wipe
		if document != nil {
			result.userData = string(document.UserData)
		}
		return nil
	}
	n.leave = func(_ context.Context, after string) error {
		result.after = after
		return nil
	}
	if n.kept == nil {
		n.kept = keptSource{}
	}
	if n.out.Format == "" {
		n.out.Format = "text"
	}
	var text bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(&text)
	cmd.SetErr(&text)
	err = n.run(cmd)
	return result, text.String(), err
}

func TestInstallDialogue(t *testing.T) {
	kept := keptSource{&source.Document{Name: "the volume cidata", UserData: []byte("#cloud-config\n")}}
	for _, test := range []struct {
		name, input string
		n           installation
		want        did
		says        []string
		err         error
	}{
		{name: "empty disk", input: "vda\nyes\n\n", n: installation{kept: kept}, want: did{disk: "/dev/vda", after: afterReboot, userData: "#cloud-config\n"},
			says: []string{"S1", "10.7 GB", "the volume cidata", "is installed on /dev/vda"}},
		{name: "no", input: "vda\nno\n", err: errDeclined},
		{name: "the name confirms", input: "/dev/vdb\nvdb\n\n", want: did{disk: "/dev/vdb", wipe: true, after: afterReboot}, says: []string{"ALL OF IT WILL BE LOST", `ext4 "data"`, "looks for one when it boots"}},
		{name: "yes does not", input: "vdb\nyes\n", err: errDeclined},
		{name: "another disk's name does not", input: "vdb\nvda\n", err: errDeclined},
		{name: "the medium", input: "vdc\nnone\n\nq\n", err: errDeclined, says: []string{"/dev/vdc can't be used: this system runs from it", `no disk named "none"`}},
		{name: "nobody answers", input: "vda\n", err: io.EOF},
		{name: "at a console it begins anew", input: "\nvdb\nyes\n\nvda\ny\n\n", n: installation{console: true}, want: did{disk: "/dev/vda", after: afterReboot},
			says: []string{"Press Enter to install", "nothing was installed"}},
		{name: "what comes after is not asked", input: "vda\nyes\n", n: installation{after: afterPowerOff}, want: did{disk: "/dev/vda", after: afterPowerOff}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, out, err := installWith(t, test.n, test.input)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) || got != test.want {
				t.Errorf("got %+v, %v; want %+v, %v\n%s", got, err, test.want, test.err, out)
			}
			for _, want := range test.says {
				if !strings.Contains(out, want) {
					t.Errorf("it doesn't say %q:\n%s", want, out)
				}
			}
		})
	}
}

func TestInstallWithoutATerminal(t *testing.T) {
	good, bad := filepath.Join(t.TempDir(), "good.yaml"), filepath.Join(t.TempDir(), "bad.yaml")
	for name, text := range map[string]string{good: "#cloud-config\nhostname: a\n", bad: "#cloud-config\nhostnme: a\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		n    installation
		want did
		says string // of the error
	}{
		{"empty disk", installation{disk: "vda", config: good}, did{disk: "/dev/vda", userData: "#cloud-config\nhostname: a\n"}, ""},
		{"data", installation{disk: "vdb"}, did{}, "--wipe loses it"},
		{"data that may go", installation{disk: "vdb", wipe: true, after: afterReboot}, did{disk: "/dev/vdb", wipe: true, after: afterReboot}, ""},
		{"no such disk", installation{disk: "vdz"}, did{}, `none named "vdz"`},
		{"invalid cloud-config", installation{disk: "vda", config: bad}, did{}, "hostnme: unknown key"},
		{"no cloud-config", installation{disk: "vda", config: "/nonexistent"}, did{}, "/nonexistent"},
	} {
		got, out, err := installWith(t, test.n, "")
		if got != test.want || (err != nil) != (test.says != "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %+v, %v; want %+v, %q\n%s", test.name, got, err, test.want, test.says, out)
		}
	}
	_, out, err := installWith(t, installation{list: true, out: command.Output{Format: "json"}}, "")
	if err != nil || !strings.Contains(out, `"serial": "S2"`) || !strings.Contains(out, `"bytes": 10737418240`) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestInstallUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"--wipe"}, {"--disk", "vda", "--list"}, {"--disk", "vda", "--after", "dinner"}, {"vda"}} {
		if code, _, stderr := run(append([]string{"install"}, args...)...); code != command.ExitUsage {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

// TestProgress: a flood of progress is a line for each tenth of each step.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	tell := tellLines(&out)
	for done := range int64(101) {
		tell(install.Progress{Step: "write", Done: done, Total: 100})
	}
	tell(install.Progress{Step: "installed"})
	if got := strings.Count(out.String(), "\n"); got != 12 || !strings.Contains(out.String(), "install: write, 50 %\n") || !strings.HasSuffix(out.String(), "install: installed\n") {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
	out.Reset()
	tell = tellTerminal(&out)
	tell(install.Progress{Step: "write", Done: 1, Total: 2})
	tell(install.Progress{Step: "installed"})
	if got := out.String(); !strings.HasPrefix(got, "\r[####################....................]  50 % write\n") {
		t.Errorf("%q", got)
	}
}
