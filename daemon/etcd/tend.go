// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// tendInterval is how often the member is looked after.
	tendInterval = time.Minute
	// A database is defragmented when this many bytes, and half of it, are free within: until then they are used again.
	defragmentAt = 100 << 20
	// roomAt is the part of the quota below which writes may go on after it was exhausted.
	roomAt = 0.8
	// defragmentTimeout is for the largest database on a slow disk.
	defragmentTimeout = 5 * time.Minute
)

// tend looks after the member until ctx ends.
func (m *Member) tend(ctx context.Context) {
	client, err := m.Client(ctx)
	if err != nil {
		m.opts.Log.Error("etcd is not looked after", "error", err)
		return
	}
	defer client.Close() //nolint:errcheck // nothing is lost
	last := ""
	for {
		if err := m.tendOnce(ctx, client); err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			m.opts.Log.Warn("looking after etcd", "error", err)
		}
		if sleep(ctx, tendInterval) != nil {
			return
		}
	}
}

func (m *Member) tendOnce(ctx context.Context, client *clientv3.Client) error {
	short, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := m.tellAddress(short, client); err != nil {
		return err
	}
	status, err := client.Status(short, m.Endpoint())
	if err != nil {
		return err
	}
	alarms, err := client.AlarmList(short)
	if err != nil {
		return err
	}
	full := false
	for _, alarm := range alarms.Alarms {
		switch {
		case alarm.Alarm == etcdserverpb.AlarmType_CORRUPT:
			m.opts.Log.Error("etcd says that the data of a member are corrupt, and takes no writes; restore a snapshot, or remove the member's Node and let it join again", "member", fmt.Sprintf("%x", alarm.MemberID))
		case alarm.MemberID == m.id():
			full = true
		case m.etcd.Server.Cluster().Member(types.ID(alarm.MemberID)) == nil:
			// It is gone, by cluster-reset or a snapshot's restoration, and nobody else ends its shortage.
			if _, err := client.AlarmDisarm(short, (*clientv3.AlarmMember)(alarm)); err != nil {
				return fmt.Errorf("end the alarm of a member that is gone: %w", err)
			}
		}
	}
	free := status.DbSize - status.DbSizeInUse
	if full || free > defragmentAt && free > status.DbSize/2 {
		if err := m.defragment(ctx, client, status); err != nil {
			return err
		}
	}
	if full {
		return m.endShortage(ctx, client)
	}
	return nil
}

// tellAddress makes the others look for this member where it is now.
func (m *Member) tellAddress(ctx context.Context, client *clientv3.Client) error {
	peer := address("https", m.opts.Address, peerPort)
	member := m.etcd.Server.Cluster().Member(m.etcd.Server.MemberID())
	if member == nil || len(member.PeerURLs) == 1 && member.PeerURLs[0] == peer.String() {
		return nil
	}
	if _, err := client.MemberUpdate(ctx, m.id(), []string{peer.String()}); err != nil {
		return fmt.Errorf("tell the other members of this server's new address: %w", err)
	}
	m.opts.Log.Info("the other members know this server's new address", "was", member.PeerURLs, "address", peer.String())
	return nil
}

func (m *Member) defragment(ctx context.Context, client *clientv3.Client, before *clientv3.StatusResponse) error {
	ctx, cancel := context.WithTimeout(ctx, defragmentTimeout)
	defer cancel()
	started := time.Now()
	if _, err := client.Defragment(ctx, m.Endpoint()); err != nil {
		return fmt.Errorf("defragment etcd: %w", err)
	}
	m.opts.Log.Info("etcd is defragmented", "took", time.Since(started).Round(time.Millisecond), "bytes", before.DbSize, "in use", before.DbSizeInUse)
	return nil
}

// endShortage lets the cluster write again if there is room.
func (m *Member) endShortage(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	status, err := client.Status(ctx, m.Endpoint())
	if err != nil {
		return err
	}
	if quota := status.DbSizeQuota; float64(status.DbSize) > roomAt*float64(quota) {
		return fmt.Errorf("etcd's database has %d bytes of the %d it may have, and the cluster takes no writes: delete objects, or raise quota-backend-bytes with skerry.cluster.etcd-arg on all servers", status.DbSize, quota)
	}
	if _, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: m.id(), Alarm: etcdserverpb.AlarmType_NOSPACE}); err != nil {
		return fmt.Errorf("let etcd take writes again: %w", err)
	}
	m.opts.Log.Info("etcd has room, and takes writes again")
	return nil
}
