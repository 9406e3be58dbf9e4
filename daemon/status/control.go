// SPDX-License-Identifier: Apache-2.0

package status

import "time"

// Control is what the control plane's process knows of itself.
type Control struct {
	Datastore Datastore `json:"datastore" yaml:"datastore"`
	// Tunnels are the nodes that this server reaches through tunnels they have opened, by name.
	Tunnels []string `json:"tunnels,omitempty" yaml:"tunnels,omitempty"`
}

// Datastore is what keeps the cluster.
type Datastore struct {
	Kind string `json:"kind" yaml:"kind"` // sqlite, postgres, mysql, nats, etcd, or embedded etcd
	// Bytes is the size of what is on this server's disk, 0 where there is nothing.
	Bytes int64 `json:"bytes,omitempty" yaml:"bytes,omitempty"`
	// Log is the size of SQLite's write-ahead log beside it.
	Log int64 `json:"log,omitempty" yaml:"log,omitempty"`
	// Quota is the size at which an embedded etcd refuses writes, 0 where there is none.
	Quota int64 `json:"quota,omitempty" yaml:"quota,omitempty"`
	// Free is what the disk has left, in bytes; nil where nothing is on this server's disk.
	Free *int64 `json:"free,omitempty" yaml:"free,omitempty"`
	// Alarms are what somebody should look at.
	Alarms []Alarm `json:"alarms,omitempty" yaml:"alarms,omitempty"`
	// Seconds is how long a read took just now.
	Seconds float64 `json:"seconds" yaml:"seconds"`
	// Members are those of an embedded etcd, by name.
	Members []Member `json:"members,omitempty" yaml:"members,omitempty"`
	// Problem is why it did not answer, or what is wrong with it.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

// Alarm is something about the datastore that somebody should look at.
type Alarm struct {
	Reason  string `json:"reason" yaml:"reason"` // that of its Event
	Message string `json:"message" yaml:"message"`
}

// Member is a server's part of an embedded etcd.
type Member struct {
	Name    string `json:"name" yaml:"name"`
	Address string `json:"address" yaml:"address"`
	Votes   bool   `json:"votes" yaml:"votes"`
	Leader  bool   `json:"leader,omitempty" yaml:"leader,omitempty"`
}

// Certificates are this machine's, in short.
type Certificates struct {
	// Next is when the first of them ends, and File which.
	Next time.Time `json:"next" yaml:"next"`
	File string    `json:"file" yaml:"file"`
	// Problems are those that are damaged, have ended or are to be renewed, in a line each.
	Problems []string `json:"problems,omitempty" yaml:"problems,omitempty"`
}
