// SPDX-License-Identifier: Apache-2.0

package argument

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	ours := map[string]string{"b": "ours", "enable-admission-plugins": "NodeRestriction"}
	for _, test := range []struct {
		name  string
		users []string
		want  string
	}{
		{"nothing", nil, "--b=ours --enable-admission-plugins=NodeRestriction"},
		{"another", []string{"a=1"}, "--a=1 --b=ours --enable-admission-plugins=NodeRestriction"},
		{"instead", []string{"b=1"}, "--b=1 --enable-admission-plugins=NodeRestriction"},
		{"instead, twice", []string{"b=1", "b=2"}, "--b=1 --b=2 --enable-admission-plugins=NodeRestriction"},
		{"after", []string{"enable-admission-plugins+=PodNodeSelector"},
			"--b=ours --enable-admission-plugins=NodeRestriction --enable-admission-plugins=PodNodeSelector"},
		{"before", []string{"enable-admission-plugins-=PodNodeSelector"},
			"--b=ours --enable-admission-plugins=PodNodeSelector --enable-admission-plugins=NodeRestriction"},
		{"both", []string{"b+=2", "b-=0", "b+=3"}, "--b=0 --b=ours --b=2 --b=3 --enable-admission-plugins=NodeRestriction"},
		{"after what is instead", []string{"b=1", "b+=2"}, "--b=1 --b=2 --enable-admission-plugins=NodeRestriction"},
		{"after, and then one more", []string{"b+=2", "b=3"}, "--b=ours --b=2 --b=3 --enable-admission-plugins=NodeRestriction"},
		{"after nothing of ours", []string{"a+=1"}, "--a=1 --b=ours --enable-admission-plugins=NodeRestriction"},
		{"a truth value", []string{"a"}, "--a=true --b=ours --enable-admission-plugins=NodeRestriction"},
		{"empty", []string{"b="}, "--b= --enable-admission-plugins=NodeRestriction"},
		{"with a dash", []string{"--b=1"}, "--b=1 --enable-admission-plugins=NodeRestriction"},
		{"with underscores", []string{"enable_admission_plugins=X"}, "--b=ours --enable-admission-plugins=X"},
		{"signs in the value", []string{"b=a+=b-=c"}, "--b=a+=b-=c --enable-admission-plugins=NodeRestriction"},
	} {
		before := maps.Clone(ours)
		if got := strings.Join(Merge(ours, test.users), " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		if !maps.Equal(ours, before) {
			t.Errorf("%s: ours were changed", test.name)
		}
	}
}

func TestTake(t *testing.T) {
	users := []string{"a=1", "config=/a", "config-dir=/d", "--config=/b"}
	rest, value := Take(users, "config")
	if value != "/b" || !slices.Equal(rest, []string{"a=1", "config-dir=/d"}) {
		t.Errorf("got %q, %q", rest, value)
	}
	if rest, value = Take(users, "x"); value != "" || !slices.Equal(rest, users) {
		t.Errorf("of none: got %q, %q", rest, value)
	}
}
