// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/skerry-os/skerry/daemon/encryption"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// encryptionStatus tells how Secrets are kept.
func (s *Server) encryptionStatus(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if s.apiserver.Load() == nil {
		return errStarting
	}
	status, err := s.config.Secrets.Status(r.Context())
	if err != nil {
		return encryptionError(err)
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(status)
}

// changeEncryption begins a change of how they are kept, which goes on after the answer.
func (s *Server) changeEncryption(w http.ResponseWriter, r *http.Request, _ *caller) error {
	var request admin.EncryptionRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdmin)).Decode(&request); err != nil {
		return errEncryption.saying(errors.New("the body isn't the JSON of a request"))
	}
	if s.apiserver.Load() == nil {
		return errStarting
	}
	asked, err := encryptionRequest(request)
	if err != nil {
		return errEncryption.saying(err)
	}
	s.administering.Lock()
	defer s.administering.Unlock()
	if err := s.config.Secrets.Begin(r.Context(), asked); err != nil {
		return encryptionError(err)
	}
	s.log.Info("a change of the keys of Secrets is asked for", "request", asked, "remote", r.RemoteAddr)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func encryptionRequest(r admin.EncryptionRequest) (encryption.Request, error) {
	switch {
	case (r.Stage == nil) == (r.Enable == nil):
		return "", errors.New("the request has either a stage, or enable")
	case r.Enable != nil && *r.Enable:
		return encryption.Enable, nil
	case r.Enable != nil:
		return encryption.Disable, nil
	case *r.Stage == admin.StageRotateKeys:
		return encryption.Rotate, nil
	case *r.Stage == admin.StageReencrypt:
		return encryption.Reencrypt, nil
	}
	return "", errors.New("the stage is neither " + admin.StageRotateKeys + ", which is prepare, rotate and reencrypt in one, nor " + admin.StageReencrypt)
}

func encryptionError(err error) error {
	if errors.Is(err, encryption.ErrRefused) {
		return errEncryption.saying(err)
	}
	return err
}
