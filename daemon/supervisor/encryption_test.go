// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/encryption"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// secretKeys remembers what was asked for.
type secretKeys struct {
	asked encryption.Request
	err   error
}

func (k *secretKeys) Status(context.Context) (admin.EncryptionStatus, error) {
	return admin.EncryptionStatus{Stage: "start", ActiveKey: "key1"}, k.err
}

func (k *secretKeys) Begin(_ context.Context, request encryption.Request) error {
	k.asked = request
	return k.err
}

func TestEncryptionRequests(t *testing.T) {
	s := newTestServer(t)
	keys := s.config.Secrets.(*secretKeys)
	yes, no := true, false
	rotate, reencrypt, prepare := "rotate_keys", "reencrypt_request", "prepare"
	if err := s.admin(t).Put(t.Context(), admin.PathEncryption, admin.EncryptionRequest{Enable: &yes}); err == nil || keys.asked != "" {
		t.Errorf("before kube-apiserver answers: %v", err)
	}
	s.SetAPIServer(http.NotFoundHandler(), s.client, nil)
	for _, tt := range []struct {
		request admin.EncryptionRequest
		want    encryption.Request
		says    string
	}{
		{admin.EncryptionRequest{Enable: &yes}, encryption.Enable, ""},
		{admin.EncryptionRequest{Enable: &no}, encryption.Disable, ""},
		{admin.EncryptionRequest{Stage: &rotate}, encryption.Rotate, ""},
		{admin.EncryptionRequest{Stage: &reencrypt}, encryption.Reencrypt, ""},
		{admin.EncryptionRequest{Stage: &prepare}, "", "prepare, rotate and reencrypt in one"},
		{admin.EncryptionRequest{}, "", "either a stage, or enable"},
		{admin.EncryptionRequest{Stage: &rotate, Enable: &yes}, "", "either a stage, or enable"},
	} {
		keys.asked = ""
		err := s.admin(t).Put(t.Context(), admin.PathEncryption, tt.request)
		if keys.asked != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: asked for %q, %v", tt.request, keys.asked, err)
		}
	}
	var status admin.EncryptionStatus
	if err := s.admin(t).Get(t.Context(), admin.PathEncryptionStatus, &status); err != nil || status.ActiveKey != "key1" {
		t.Errorf("status: %+v, %v", status, err)
	}
	keys.err = fmt.Errorf("%w: because", encryption.ErrRefused)
	if err := s.admin(t).Put(t.Context(), admin.PathEncryption, admin.EncryptionRequest{Enable: &yes}); err == nil || !strings.Contains(err.Error(), "because") {
		t.Errorf("a refusal doesn't say why: %v", err)
	}
	keys.err = errors.New("the datastore is at 192.0.2.1")
	if err := s.admin(t).Get(t.Context(), admin.PathEncryptionStatus, &status); err == nil || strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("a failure: %v", err)
	}
}
