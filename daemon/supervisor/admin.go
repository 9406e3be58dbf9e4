// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/skerry-os/skerry/daemon/encryption"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// maxAdmin is many times the size of all authorities with long chains and keys.
const maxAdmin = 1 << 20

// replaceAuthorities takes new authorities, which this server uses when it is
// started again: only then are all its parts of one mind.
func (s *Server) replaceAuthorities(w http.ResponseWriter, r *http.Request, _ *caller) error {
	force := false
	if text := r.URL.Query().Get(admin.QueryForce); text != "" {
		var err error
		if force, err = strconv.ParseBool(text); err != nil {
			return errAuthorities.saying(fmt.Errorf("%s=%s is neither true nor false", admin.QueryForce, text))
		}
	}
	var next pki.Authorities
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdmin)).Decode(&next); err != nil {
		// Not the decoder's words: they may quote a key.
		return errAuthorities.saying(errors.New("the body isn't the JSON of authorities"))
	}
	s.administering.Lock()
	defer s.administering.Unlock()
	present, err := pki.ReadAuthorities(filepath.Join(s.config.DataDir, "tls"))
	if err != nil {
		return err
	}
	now := time.Now()
	all, err := present.Replace(next, now)
	var unrelated *pki.UnrelatedError
	switch {
	case errors.As(err, &unrelated) && force:
		s.log.Warn("authorities are replaced by unrelated ones", "because", err)
	case err != nil:
		return errAuthorities.saying(err)
	}
	if err := s.shareAuthorities(r, all); err != nil {
		return err
	}
	backup, err := all.Stage(s.config.DataDir, now)
	if err != nil {
		return err
	}
	s.log.Info("new certificate authorities are taken; they are used when this server is started again", "the old ones are in", backup)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// shareAuthorities puts authorities where the other servers find them.
func (s *Server) shareAuthorities(r *http.Request, all pki.Authorities) error {
	if s.config.ShareAuthorities == nil {
		return nil
	}
	dir, err := os.MkdirTemp(s.config.DataDir, ".new-authorities-*")
	if err != nil {
		return fmt.Errorf("share authorities: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := all.Write(filepath.Join(dir, "tls")); err != nil {
		return err
	}
	return s.config.ShareAuthorities(r.Context(), dir)
}

// replaceToken takes another server token. From its answer on, the old one lets
// nobody in; who is in, is so by a certificate.
func (s *Server) replaceToken(w http.ResponseWriter, r *http.Request, _ *caller) error {
	var request admin.TokenRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdmin)).Decode(&request); err != nil {
		return errToken.saying(errors.New("the body isn't the JSON of a request")) // the decoder may quote the token
	}
	s.administering.Lock()
	defer s.administering.Unlock()
	next, err := s.tokens.Load().Rotated(request.NewToken)
	if err != nil {
		return errToken.saying(err)
	}
	keep := func() error {
		if err := next.Keep(s.config.DataDir, time.Now()); err != nil {
			return err
		}
		s.tokens.Store(next)
		return nil
	}
	if s.config.ShareToken != nil {
		err = s.config.ShareToken(r.Context(), next.Server.Password, keep)
	} else {
		err = keep()
	}
	if errors.Is(err, encryption.ErrRefused) {
		return errToken.saying(err)
	}
	if err != nil {
		return err
	}
	s.log.Info("the server token is replaced", "remote", r.RemoteAddr)
	return nil
}
