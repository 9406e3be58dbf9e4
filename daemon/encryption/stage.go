// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/daemon/bootstrap"
)

// Stage is how far a change of keys is. Names are K3s'.
//
//	start, reencrypt_finished ──(a change is asked for)──▶ prepare
//	prepare ──(every server reads with the new way)──▶ rotate
//	rotate ──(every server writes with it)──▶ reencrypt_active
//	start, reencrypt_finished ──(reencrypt is asked for)──▶ reencrypt_request ──(as rotate)──▶ reencrypt_active
//	reencrypt_active ──(every Secret is written with it)──▶ reencrypt_finished
type Stage string

// The stages.
const (
	StageStart    Stage = "start"
	StagePrepare  Stage = "prepare"
	StageRotate   Stage = "rotate"
	StageRequest  Stage = "reencrypt_request"
	StageActive   Stage = "reencrypt_active"
	StageFinished Stage = "reencrypt_finished"
)

var stages = []Stage{StageStart, StagePrepare, StageRotate, StageRequest, StageActive, StageFinished}

// settled says whether nothing is under way.
func (s Stage) settled() bool { return s == StageStart || s == StageFinished }

// files are what the cluster has of its keys, and the way back to the datastore.
var files = []string{bootstrap.EncryptionConfig, bootstrap.EncryptionState}

// state is the keys, and how far a change of them is.
type state struct {
	keys  keyring
	stage Stage
	// config is the file that kube-apiserver reads.
	config []byte
}

// readState reads what the datastore has. There is none in a cluster of before.
func readState(present bootstrap.Contents) (s state, ok bool, err error) {
	s.config = present[bootstrap.EncryptionConfig]
	if len(s.config) == 0 {
		return s, false, nil
	}
	if s.keys, err = parseKeyring(s.config); err != nil {
		return s, false, err
	}
	// K3s has the hash of the configuration behind the stage, so that servers see whether both belong together. Here they
	// are written at once.
	name, _, _ := strings.Cut(string(present[bootstrap.EncryptionState]), "-")
	s.stage = Stage(name)
	if name == "" {
		s.stage = StageStart
	}
	if !slices.Contains(stages, s.stage) {
		return s, false, fmt.Errorf("the keys of Secrets are in the stage %q, which this release doesn't know", name)
	}
	return s, true, nil
}

// contents are for the datastore.
func (s state) contents() (bootstrap.Contents, error) {
	config, err := s.keys.encode()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(config)
	return bootstrap.Contents{
		bootstrap.EncryptionConfig: config,
		bootstrap.EncryptionState:  []byte(string(s.stage) + "-" + hex.EncodeToString(sum[:])),
	}, nil
}

// hash is as kube-apiserver tells which configuration it uses.
func (s state) hash() string {
	sum := sha256.Sum256(s.config)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// target is what Secrets are written with in the end.
func (s state) target() writer {
	if s.stage == StagePrepare && len(s.keys) > 1 {
		return s.keys[1]
	}
	return s.keys[0]
}

// next is the state after a stage whose condition is met.
func (s state) next() state {
	switch s.stage {
	case StagePrepare:
		return state{keys: s.keys.promoted(), stage: StageRotate}
	case StageRotate, StageRequest:
		return state{keys: s.keys, stage: StageActive}
	case StageActive:
		return state{keys: s.keys.reduced(), stage: StageFinished}
	case StageStart, StageFinished:
	}
	return s
}

// CheckSettled returns ErrRefused while a change of keys is under way.
func CheckSettled(ctx context.Context, opts bootstrap.Options) error {
	present, err := bootstrap.Fetch(ctx, opts, files...)
	if err != nil {
		return err
	}
	s, ok, err := readState(present)
	if err != nil || !ok || s.stage.settled() {
		return err
	}
	return refuse("a change of the keys of Secrets is under way, in the stage %s; try again when skerry secrets-encrypt status says that it is finished", s.stage)
}
