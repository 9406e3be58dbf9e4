// SPDX-License-Identifier: Apache-2.0

package slot

import "testing"

func TestParseUKIName(t *testing.T) {
	n := func(i int) *int { return &i }
	for _, test := range []struct {
		name    string
		version string
		left    *int
		done    int
		state   State
		again   string // Name, where that isn't name
	}{
		{"skerry_0.1.0.efi", "0.1.0", nil, 0, Proven, ""},
		{"skerry_0.1.0+3-0.efi", "0.1.0", n(3), 0, Trial, "skerry_0.1.0+3.efi"},
		{"skerry_0.1.0+3.efi", "0.1.0", n(3), 0, Trial, ""},
		{"skerry_0.1.0~rc-1+2-1.efi", "0.1.0~rc-1", n(2), 1, Trial, ""},
		{"skerry_0.1.0+0-3.efi", "0.1.0", n(0), 3, Failed, ""},
		{"skerry_0.1.0+0.efi", "0.1.0", n(0), 0, Failed, ""},
	} {
		u, ok := ParseUKIName(test.name)
		if !ok || u.Version != test.version || u.Done != test.done || u.state() != test.state || (u.Left == nil) != (test.left == nil) ||
			u.Left != nil && *u.Left != *test.left {
			t.Errorf("%s: got %+v, %t", test.name, u, ok)
		}
		want := test.again
		if want == "" {
			want = test.name
		}
		if u.Name() != want {
			t.Errorf("%s: is called %s, want %s", test.name, u.Name(), want)
		}
	}
	for _, name := range []string{"skerry_.efi", "skerry_1+.efi", "skerry_1+2-.efi", "skerry_1+a.efi", "other_1.efi", "skerry_1", ".#sysupdateskerry_1+3-0.efi9b",
		"skerry_1_2.efi", "skerry_1+99999.efi"} {
		if u, ok := ParseUKIName(name); ok {
			t.Errorf("%s: got %+v", name, u)
		}
	}
}

// FuzzParseUKIName: whatever a file on the partition is called, what is taken for ours is found again under its name.
func FuzzParseUKIName(f *testing.F) {
	for _, name := range []string{"skerry_0.1.0.efi", "skerry_0.1.0+3-0.efi", "skerry_1+0.efi", "x"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		u, ok := ParseUKIName(name)
		if !ok {
			return
		}
		again, ok := ParseUKIName(u.Name())
		if !ok || again.Version != u.Version || again.state() != u.state() || again.Done != u.Done {
			t.Errorf("%q: %+v becomes %+v", name, u, again)
		}
	})
}

func TestIsVersion(t *testing.T) {
	for text, want := range map[string]bool{
		"0.1.0": true, "0.1.0~rc1": true, "2026-01-01": true, "": false, "../x": false, "1+2": false, "1_2": false, ".1": false,
		"12345678901234567890123456789": true, "123456789012345678901234567890": false,
	} {
		if IsVersion(text) != want {
			t.Errorf("%q: got %t", text, !want)
		}
	}
}

// TestCompare has the examples of the specification, and its rules.
func TestCompare(t *testing.T) {
	for _, rising := range [][]string{
		{"~rc1", "", "11"},
		{"122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1", "123.a-1", "123.1-1", "123a-1", "124-1"},
		{"0.1.0~rc1", "0.1.0", "0.1.1", "0.2.0", "0.10.0", "1.0.0"},
		{"1.0.09", "1.0.10"},
		{"a", "b", "1"},
	} {
		for i := range rising {
			for j := range rising {
				got := Compare(rising[i], rising[j])
				if (got < 0) != (i < j) || (got > 0) != (i > j) {
					t.Errorf("%q to %q: got %d", rising[i], rising[j], got)
				}
			}
		}
	}
	for _, same := range [][2]string{{"123", "0123"}, {"1.0", "1.0"}, {"_1", "1"}, {"", ""}} {
		if got := Compare(same[0], same[1]); got != 0 {
			t.Errorf("%q to %q: got %d", same[0], same[1], got)
		}
	}
}

func TestUUIDs(t *testing.T) {
	root, verity := UUIDs("0123456789abcdef0123456789abcdeffedcba9876543210fedcba9876543210")
	if root != "01234567-89ab-cdef-0123-456789abcdef" || verity != "fedcba98-7654-3210-fedc-ba9876543210" {
		t.Errorf("got %s and %s", root, verity)
	}
	if root, verity := UUIDs("0123"); root != "" || verity != "" {
		t.Errorf("of what is no hash: %s and %s", root, verity)
	}
}
