// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// recorder is a systemd-networkd that remembers what it was asked.
type recorder struct {
	inactive bool
	refuse   string // the call that fails
	calls    []string
}

func (r *recorder) call(words ...string) error {
	r.calls = append(r.calls, strings.Join(words, " "))
	if words[0] == r.refuse {
		return errors.New("refused")
	}
	return nil
}

func (r *recorder) Active(context.Context) (bool, error) { return !r.inactive, r.call("active") }
func (r *recorder) ApplyLinks(context.Context) error     { return r.call("links") }
func (r *recorder) Reload(context.Context) error         { return r.call("reload") }
func (r *recorder) Interfaces() ([]string, error) {
	return []string{"lo", "a", "b"}, r.call("interfaces")
}

func (r *recorder) Reconfigure(_ context.Context, names []string) error {
	return r.call(append([]string{"reconfigure"}, names...)...)
}

func TestReload(t *testing.T) {
	for _, test := range []struct {
		name  string
		r     recorder
		links bool
		names string
		calls string
		err   string
	}{
		{name: "all", links: true, names: "a b", calls: "links, active, reload, interfaces, reconfigure a b"},
		{name: "no links", names: "b", calls: "active, reload, interfaces, reconfigure b"},
		{name: "not there yet", names: "c", calls: "active, reload, interfaces"},
		{name: "only some there", names: "c a", calls: "active, reload, interfaces, reconfigure a"},
		{name: "not running", r: recorder{inactive: true}, links: true, names: "a", calls: "links, active"},
		{name: "links fail", r: recorder{refuse: "links"}, links: true, calls: "links", err: "name network cards: refused"},
		{name: "no systemd", r: recorder{refuse: "active"}, calls: "active", err: "ask whether systemd-networkd runs: refused"},
		{name: "reload fails", r: recorder{refuse: "reload"}, calls: "active, reload", err: "reload systemd-networkd: refused"},
		{name: "no list", r: recorder{refuse: "interfaces"}, names: "a", calls: "active, reload, interfaces", err: "list network interfaces: refused"},
		{name: "reconfigure fails", r: recorder{refuse: "reconfigure"}, names: "a", calls: "active, reload, interfaces, reconfigure a",
			err: "reconfigure network interfaces [a]: refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Reload(t.Context(), &test.r, test.links, strings.Fields(test.names))
			if got := strings.Join(test.r.calls, ", "); got != test.calls {
				t.Errorf("did %s, want %s", got, test.calls)
			}
			if (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
}
