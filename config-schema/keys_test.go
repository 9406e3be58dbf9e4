// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestCloudInitValues reads what people paste, and looks at what it came to.
func TestCloudInitValues(t *testing.T) {
	c, problems := Parse("user-data", read(t, "testdata/accepted/cloud-init.yaml"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	users := c.AllUsers()
	hash, _ := users[1].Password()
	_, text := users[3].Password()
	reference, _ := text.Reference()
	for _, test := range []struct{ what, got, want string }{
		{"groups", fmt.Sprint(c.Groups), "[{admingroup [ops backup]} {cloud-users []} {empty []}]"},
		{"default user's sources", fmt.Sprint(users[0].SSHImportID), "[gh:admin]"},
		{"sources", fmt.Sprint(users[1].SSHImportID), "[gh:ops lp:ops https://example.org/ops.keys]"},
		{"URL of gh", ImportID("gh:ops").URL(), "https://github.com/ops.keys"},
		{"URL of lp", ImportID("lp:ops").URL(), "https://launchpad.net/~ops/+sshkeys"},
		{"expiredate", fmt.Sprint(users[1].ExpireDate.Days()), "22889"},
		{"inactive", fmt.Sprint(*users[1].Inactive), "5"},
		{"hashed_passwd", hash.Reveal(), "$6$salt$abcdefgh"},
		{"locked text", text.Reveal() + reference.String(), "credential "},
		{"home", users[2].Home() + users[0].Home(), "/var/lib/app/home/skerry"},
		{"home is made", fmt.Sprint(users[0].MakeHome(), users[2].MakeHome(), users[3].MakeHome()), "true false false"},
		{"bootcmd", fmt.Sprintf("%q", c.BootCmd), `[["/bin/sh" "-c" "echo one > /run/one"] ["cloud-init-per" "once" "1" "true"]]`},
		{"runcmd", fmt.Sprintf("%q", c.RunCmd[1]), `["ls" "-l" "/"]`},
		{"list", c.ChPasswd.List[0].Type + " " + c.ChPasswd.List[1].Type, "hash RANDOM"},
		{"layout", fmt.Sprint(c.DiskSetup["/dev/disk/by-id/virtio-two"].Layout), "[{25 linux-generic} {25 swap} {50 0fc63daf-8483-4772-8e79-3d69d8477de4}]"},
		{"partition", fmt.Sprint(c.FSSetup[0].Partition, c.FSSetup[1].Partition), "1 0"},
		{"mount", fmt.Sprint(c.Mounts[0]), "{LABEL=data /mnt/data auto [defaults nofail] true}"},
		{"short device", c.Mounts[1].Device, "/dev/vdc1"},
		{"nofail", fmt.Sprint(c.Mounts[0].NoFail(), c.Mounts[2].NoFail()), "true false"},
		{"swap device", fmt.Sprint(c.Mounts[5].Swap()), "true"},
		{"swap", fmt.Sprint(c.Swap.Size.Auto(), c.Swap.MaxSize.Bytes()), "true 4294967296"},
		{"delay", fmt.Sprint(int(c.PowerState.Delay)), "5"},
		{"message", c.FinalMessage.Expand(map[string]string{"uptime": "12", "datasource": "x"}), "x: up after 12 s at  ()"},
		{"device path", DevicePath("LABEL=my data"), `/dev/disk/by-label/my\x20data`},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %s, want %s", test.what, test.got, test.want)
		}
	}
}

func TestGroupsForms(t *testing.T) {
	for text, want := range map[string]string{
		"groups: a, b":               "[{a []} {b []}]",
		"groups: [a, {b: [backup]}]": "[{a []} {b [backup]}]",
		"groups: {a: backup, b: }":   "[{a [backup]} {b []}]",
	} {
		c, problems := Parse("user-data", []byte("#cloud-config\n"+text+"\n"))
		if len(problems) > 0 || fmt.Sprint(c.Groups) != want {
			t.Errorf("%s: %v, %v", text, c, problems)
		}
	}
}

func TestSyncWait(t *testing.T) {
	for text, want := range map[string]struct {
		limit          time.Duration
		forever, given bool
	}{
		"{}":                     {},
		"{wait-for-sync: true}":  {forever: true, given: true},
		"{wait-for-sync: false}": {given: true},
		"{wait-for-sync: 90}":    {limit: 90 * time.Second, given: true},
	} {
		c, problems := Parse("user-data", []byte("#cloud-config\nskerry: {time: "+text+"}\n"))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if limit, forever, given := c.Skerry.Time.WaitForSync.Limit(); limit != want.limit || forever != want.forever || given != want.given {
			t.Errorf("%s: %v %v %v", text, limit, forever, given)
		}
	}
}

// TestRefusedOnce: a key is implemented or refused, never both.
func TestRefusedOnce(t *testing.T) {
	d := newDecoder(nil)
	for key := range cloudInitLater {
		if _, both := cloudInitNever[key]; both {
			t.Errorf("%s is refused twice", key)
		}
	}
	for name, table := range map[string]struct {
		keys    []string
		refused []map[string]string
	}{
		"Config": {d.shape(reflect.TypeFor[Config]()).keys, []map[string]string{cloudInitLater, cloudInitNever}},
		"User":   {d.shape(reflect.TypeFor[User]()).keys, []map[string]string{userKeysLater}},
	} {
		for _, refused := range table.refused {
			for key := range refused {
				if slices.Contains(table.keys, key) {
					t.Errorf("%s: %s is implemented, and refused", name, key)
				}
			}
		}
	}
	for _, key := range d.shape(reflect.TypeFor[Skerry]()).keys {
		if !skerryKeys[key] {
			t.Errorf("skerryKeys lacks %s", key)
		}
		if _, refused := elsewhere[key]; refused {
			t.Errorf("skerry.%s is implemented, and refused", key)
		}
	}
}
