// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// NTP configures systemd-timesyncd, which keeps the clock right.
type NTP struct {
	// Whether the clock is set from time servers at all. The default is true.
	Enabled *bool `yaml:"enabled"`
	// Time servers, by name or address.
	Servers CommaList `yaml:"servers"`
	// Names that stand for many time servers. They are asked like servers, after
	// them. Without servers and pools, those of the network's DHCP and Debian's
	// pool are asked.
	Pools CommaList `yaml:"pools"`
	// The program that sets the clock: the image has systemd-timesyncd only.
	Client string `yaml:"ntp_client" enum:"auto,systemd-timesyncd"`
}

// Off says whether the clock is to be left alone.
func (n *NTP) Off() bool { return n.Enabled != nil && !*n.Enabled }

func (n *NTP) check(s scope) {
	for i, server := range n.Servers {
		s.nameOrAddress(s.item("servers", i), server)
	}
	for i, pool := range n.Pools {
		s.nameOrAddress(s.item("pools", i), pool)
	}
}

func (*NTP) unsupported(key string) (message, hint string) {
	switch key {
	case "peers", "allow":
		return "known cloud-init key, makes no sense here: systemd-timesyncd asks servers and is none itself", ""
	case "config":
		return "known cloud-init key, not supported by this release: brings another time program", "use servers and pools"
	}
	return "", ""
}

// zoneName is the form of a name of the time zone database. Whether there is
// such a zone, the machine knows.
var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*){0,2}$`)

// Clock says how long a machine waits for a clock that can be right before it
// starts Kubernetes.
type Clock struct {
	// How long to wait until time servers have set the clock: true waits for as
	// long as it takes, false not at all, and a number that many seconds at
	// most. Without the key, only a machine whose hardware's clock can't be right
	// waits, such as one without a battery, and for at most 60 seconds. It then
	// goes on with the latest day that has certainly been (that of the image, or
	// one on which it has been running before), so that a machine that is offline
	// for ever, and has no clock of its own, starts all the same.
	// Applied at each boot, after the network is up.
	WaitForSync SyncWait `yaml:"wait-for-sync"`
}

// SyncWait is true, false or a number of seconds.
type SyncWait struct {
	given, forever bool
	limit          time.Duration
}

// Limit returns how long to wait, whether it is without limit, and whether the
// file says anything.
func (w SyncWait) Limit() (limit time.Duration, forever, given bool) {
	return w.limit, w.forever, w.given
}

func (w SyncWait) written() any {
	if w.forever || w.limit == 0 {
		return w.forever
	}
	return int(w.limit / time.Second)
}

// maxSyncWait is a day: who wants to wait longer wants to wait for ever.
const maxSyncWait = 24 * 60 * 60

func (w *SyncWait) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		seconds, err := strconv.Atoi(n.Value)
		if err != nil || seconds < 0 || seconds > maxSyncWait {
			d.problem(n, path, quote(n.Value)+" is not a number of seconds", "from 0 to 86400, or true to wait for as long as it takes")
			return
		}
		*w = SyncWait{given: true, limit: time.Duration(seconds) * time.Second}
		return
	}
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on":
			*w = SyncWait{given: true, forever: true}
			return
		case "false", "no", "off":
			*w = SyncWait{given: true}
			return
		}
	}
	d.wrongType(n, path, "true, false or a number of seconds", false)
}
