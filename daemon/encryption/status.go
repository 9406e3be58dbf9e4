// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"

	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// Status tells which keys there are, and how far a change of them is.
func (k *Keys) Status(ctx context.Context) (admin.EncryptionStatus, error) {
	if k.opts.Foreign {
		return admin.EncryptionStatus{}, refuse("kube-apiserver-arg has an encryption-provider-config: the keys are its author's")
	}
	present, err := k.opts.Fetch(ctx, files...)
	if err != nil {
		return admin.EncryptionStatus{}, err
	}
	s, _, err := readState(present)
	if err != nil {
		return admin.EncryptionStatus{}, err
	}
	hash, err := k.loaded(s.hash())
	if err != nil {
		return admin.EncryptionStatus{}, err
	}
	progress, err := k.leadersProgress(ctx)
	if err != nil {
		return admin.EncryptionStatus{}, err
	}
	encrypts := s.keys.encrypts()
	status := admin.EncryptionStatus{
		Stage: string(s.stage), Enable: &encrypts,
		HashMatch: hash == s.hash() && progress.Behind == "",
		Finished:  s.stage.settled(),
		Done:      progress.Done, Total: progress.Total, Problem: progress.Problem,
	}
	switch {
	case progress.Behind != "":
		status.HashError = "these servers have not taken up the keys yet: " + progress.Behind
	case hash != s.hash():
		status.HashError = "this server has not taken up the keys yet"
	}
	for i, w := range s.keys {
		switch {
		case w == plain:
		case i == 0:
			status.ActiveKey, status.Provider = w.name, w.provider
		default:
			status.InactiveKeys = append(status.InactiveKeys, w.name)
		}
	}
	return status, nil
}

// leadersProgress is of the server that leads, as it tells; other servers have none.
func (k *Keys) leadersProgress(ctx context.Context) (Progress, error) {
	if !k.opts.Shared {
		return k.record().Progress, nil
	}
	records, kvs, err := k.records(ctx)
	if err != nil {
		return Progress{}, err
	}
	var latest Progress
	var revision int64
	for i, r := range records {
		if r.Progress != (Progress{}) && kvs[i].ModRevision > revision {
			latest, revision = r.Progress, kvs[i].ModRevision
		}
	}
	return latest, nil
}
