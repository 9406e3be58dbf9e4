// SPDX-License-Identifier: Apache-2.0

package live

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParse(t *testing.T) {
	const onMedium = "roothash=00ff ro console=ttyS0,115200 skerry-live=PARTUUID=e-f " +
		"systemd.verity_root_data=PARTUUID=a-b systemd.verity_root_hash=/dev/disk/by-partuuid/c-d\n"
	for _, test := range []struct {
		line string
		want Medium
		live bool
	}{
		{onMedium, Medium{Root: "/dev/disk/by-partuuid/a-b", Verity: "/dev/disk/by-partuuid/c-d", ESP: "/dev/disk/by-partuuid/e-f", RootHash: "00ff"}, true},
		{"roothash=00ff ro", Medium{RootHash: "00ff"}, false},
		{"ro skerry-live", Medium{}, true},
		{"skerry-lively skerry.live", Medium{}, false},
		{"", Medium{}, false},
	} {
		if got, live := Parse(test.line); got != test.want || live != test.live {
			t.Errorf("%q: got %+v, %t", test.line, got, live)
		}
	}
	file := filepath.Join(t.TempDir(), "cmdline")
	if _, _, err := Here(file); err == nil {
		t.Error("a command line that can't be read is taken for an installed system's")
	}
	if err := os.WriteFile(file, []byte(onMedium), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, live, err := Here(file); err != nil || !live || m.RootHash != "00ff" {
		t.Errorf("got %+v, %t, %v", m, live, err)
	}
}
