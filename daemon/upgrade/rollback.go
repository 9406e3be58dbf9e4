// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/mod/semver"

	"github.com/skerry-os/skerry/daemon/slot"
)

// Rollback has the next boot try the version of the other slot, and returns it. The version that runs stays the one to go
// back to, unless it is on trial itself: then it is given up.
func (u *Upgrader) Rollback(ctx context.Context) (to string, err error) {
	lock, err := u.lock()
	if err != nil {
		return "", err
	}
	defer lock.Close()
	slots, err := u.Slots.Read(ctx)
	if err != nil {
		return "", err
	}
	other := slots.Other()
	if other == nil || other.UKI == nil {
		return "", refused("there is no version to go back to: the other slot is empty")
	}
	if err := u.wouldStart(filepath.Join(u.Slots.Root+slot.ESPDir, slot.UKIDir, other.UKI.File), "the kernel of "+other.Version); err != nil {
		return "", err
	}
	r, err := u.record()
	if err != nil {
		u.Log.Warn("what is remembered of upgrades can't be read, and is begun anew", "error", err)
	}
	if trying, err := u.onTrial(r); err != nil {
		return "", err
	} else if trying {
		return other.Version, u.abandon(slots, r)
	}
	if other.State == slot.Failed && r.Last != nil && r.Last.Result == FellBack && r.Last.Version == other.Version {
		return "", refused("%s is what this machine fell back from: %s", other.Version, r.Last.Reason)
	}
	r.Trial = &Trial{Version: other.Version, RootHash: other.RootHash, From: slots.Version, Begun: u.Now().UTC(), ByHand: true,
		Installed: true, Deadline: int(u.Trial.Deadline / time.Second), Stable: int(u.Trial.Stable / time.Second)}
	if err := u.remember(r); err != nil {
		return "", err
	}
	// First the one to try gets its attempts: a power cut between the two leaves what runs in front.
	left := attempts
	uki, err := u.Slots.SetCount(*other.UKI, &left)
	if err != nil {
		return "", err
	}
	return other.Version, u.prefer(slots, uki)
}

// abandon gives a version up that runs on trial.
func (u *Upgrader) abandon(slots *slot.Slots, r Record) error {
	if uki := slots.Running().UKI; uki != nil {
		none := 0
		if _, err := u.Slots.SetCount(*uki, &none); err != nil {
			return err
		}
	}
	if r.Trial == nil {
		return nil
	}
	r.Trial.Failure = "it was given up by hand, with skerry upgrade rollback"
	return u.remember(r)
}

// noWayBack says why the version that runs may not read what another one will have written: kube-apiserver moves to newer
// storage versions with minor releases, and Kubernetes' version skew policy has none for an older one that finds them. What
// Skerry itself keeps on STATE and DATA has had one form so far.
func (u *Upgrader) noWayBack(m *Manifest) string {
	switch {
	case !semver.IsValid(u.Kubernetes):
		return "" // a build of a developer's, which has no version
	case !semver.IsValid(m.Kubernetes):
		return fmt.Sprintf("whether Kubernetes %s reads what %s has written can't be told: take a snapshot first (skerry etcd-snapshot save)", u.Kubernetes, m.Version)
	case semver.Compare(semver.MajorMinor(m.Kubernetes), semver.MajorMinor(u.Kubernetes)) <= 0:
		return ""
	}
	return fmt.Sprintf("on a server, what Kubernetes %s has written to the datastore %s may not read: after a rollback or a fall-back the cluster may need a snapshot from before, so take one first (skerry etcd-snapshot save)", m.Kubernetes, u.Kubernetes)
}
