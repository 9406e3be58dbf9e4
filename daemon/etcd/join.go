// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// DuplicateError is for a node that has a member already, of another machine or of a disk that is gone.
type DuplicateError struct{ Node, Member string }

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("the cluster's etcd has a member %s of this name already; if this machine replaces it, "+
		"delete its Node (kubectl delete node %s) and start again, or else choose another hostname", e.Member, e.Node)
}

// join makes the cluster expect this member, as a learner, and returns its initial cluster. It may be interrupted anywhere
// and called again. It tries until that is done or can't be.
func (m *Member) join(ctx context.Context) (initial string, err error) {
	report := newReport(m.opts)
	for {
		initial, err := m.tryJoin(ctx)
		var duplicate *DuplicateError
		switch {
		case err == nil || errors.As(err, &duplicate):
			return initial, err
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.Is(err, rpctypes.ErrTooManyLearners):
			report.waiting("another server is joining the cluster's etcd", err)
		default:
			report.waiting("joining the cluster's etcd", err)
		}
		if err := sleep(ctx, pause); err != nil {
			return "", err
		}
	}
}

func (m *Member) tryJoin(ctx context.Context) (initial string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	members, err := m.opts.Members(ctx)
	if err != nil {
		return "", err
	}
	var endpoints []string
	for _, member := range members {
		if !member.IsLearner {
			endpoints = append(endpoints, member.ClientURLs...)
		}
	}
	client, err := m.opts.client(ctx, endpoints...)
	if err != nil {
		return "", err
	}
	defer client.Close() //nolint:errcheck // it was asked all that it was to be asked
	// What the server knows may be old by now.
	list, err := client.MemberList(ctx)
	if err != nil {
		return "", err
	}
	peer := address("https", m.opts.Address, peerPort)
	expected := false
	for _, member := range list.Members {
		switch {
		case member.Name == "" && slices.Contains(member.PeerURLs, peer.String()):
			expected = true // an attempt that was interrupted
		case member.Name == m.name:
			// It was this server, which has lost its data.
			if _, err := client.MemberRemove(ctx, member.ID); err != nil {
				return "", err
			}
		case member.Name != "" && NodeOf(member.Name) == m.opts.NodeName:
			return "", &DuplicateError{Node: m.opts.NodeName, Member: member.Name}
		}
	}
	members = list.Members
	if !expected {
		added, err := client.MemberAddAsLearner(ctx, []string{peer.String()})
		if err != nil {
			return "", err
		}
		members = added.Members
	}
	return initialCluster(members, m.name, peer.String()), nil
}

// initialCluster is what etcd wants to know of the members that there are when one is started for the first time.
func initialCluster(members []*etcdserverpb.Member, name, peer string) string {
	var all []string
	for _, member := range members {
		for _, at := range member.PeerURLs {
			called := member.Name
			if at == peer {
				called = name
			}
			if called != "" {
				all = append(all, called+"="+at)
			}
		}
	}
	return strings.Join(all, ",")
}

// promote gives the member a vote once it has all the data.
func (m *Member) promote(ctx context.Context) error {
	report := newReport(m.opts)
	for m.etcd.Server.IsLearner() {
		err := m.tryPromote(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
			report.waiting("fetching the cluster's data", err)
		case err != nil && !errors.Is(err, rpctypes.ErrMemberNotLearner):
			report.waiting("becoming a member of the cluster's etcd with a vote", err)
		}
		select {
		case <-m.etcd.Server.StopNotify():
			return m.ended(errEnded)
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (m *Member) tryPromote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	client, err := m.opts.client(ctx, m.voters()...)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // as above
	_, err = client.MemberPromote(ctx, m.id())
	return err
}

// report tells of waits: each reason once in the journal.
type report struct {
	opts Options
	last string
}

func newReport(opts Options) *report { return &report{opts: opts} }

func (r *report) waiting(what string, err error) {
	r.opts.Status(what)
	if said := what + err.Error(); said != r.last {
		r.last = said
		r.opts.Log.Info(what, "last", err)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
