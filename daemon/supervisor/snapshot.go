// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// takeSnapshot takes a snapshot of the datastore, and answers where it is.
func (s *Server) takeSnapshot(w http.ResponseWriter, r *http.Request, _ *caller) error {
	var request admin.SnapshotRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdmin)).Decode(&request); err != nil {
		return errNoSnapshot.saying(errors.New("the body isn't the JSON of a request"))
	}
	switch {
	case request.Operation != admin.OperationSave:
		return errNoSnapshot.saying(fmt.Errorf("the operation is %q; a server only does %s", request.Operation, admin.OperationSave))
	case len(request.Name) != 1:
		return errNoSnapshot.saying(errors.New("name must have one element"))
	}
	if err := snapshot.CheckName(request.Name[0]); err != nil {
		return errNoSnapshot.saying(err)
	}
	taken, err := s.config.TakeSnapshot(r.Context(), request.Name[0])
	switch {
	case errors.Is(err, datastore.ErrNotEmbedded):
		return errNoSnapshot.saying(err)
	case err != nil && len(taken) > 0:
		return errSnapshot.saying(fmt.Errorf("it is in %s, but: %w", taken[0].Location, err))
	case err != nil:
		return errSnapshot.saying(err)
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(taken)
}
