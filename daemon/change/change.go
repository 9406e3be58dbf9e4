// SPDX-License-Identifier: Apache-2.0

// Package change is what `skerry config apply` and the daemon say to each other,
// on the daemon's socket. The daemon does the work: a change of the network may
// end the session that asked for it, and must not end the change.
//
// It carries a user-data, which has secrets, and shows none.
package change

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/status"
)

// Request is what the daemon is asked to do.
type Request struct {
	// Name and UserData are of a file to be used in the place of the user-data
	// from now on. Without a name the configuration is what is on disk.
	Name     string `json:"name,omitempty"`
	UserData []byte `json:"user-data,omitempty"`
	// DryRun says what would change, and changes nothing.
	DryRun bool `json:"dry-run,omitempty"`
	// Try is how long the change has until it is taken back, unless it is
	// confirmed. Zero for a change that stays.
	Try time.Duration `json:"try,omitempty"`
}

// Row is one value that differs, and what becomes of it.
type Row struct {
	configschema.Change `yaml:",inline"`

	Effect apply.When `json:"effect" yaml:"effect"`
	// Units are those that are restarted.
	Units []string `json:"units,omitempty" yaml:"units,omitempty"`
	Why   string   `json:"why,omitempty" yaml:"why,omitempty"`
}

// Result is what has changed, or would.
type Result struct {
	// DryRun says that nothing was done.
	DryRun  bool  `json:"dry-run" yaml:"dry-run"`
	Changes []Row `json:"changes" yaml:"changes"`
	// Restarted are the units that are being restarted, in their order.
	Restarted []string `json:"restarted" yaml:"restarted"`
	// Reboot says that something waits for a reboot.
	Reboot bool `json:"reboot" yaml:"reboot"`
	// Until is when the change is taken back, unless it is confirmed.
	Until time.Time `json:"until,omitzero" yaml:"until,omitempty"`
	// Warnings are for people.
	Warnings []string `json:"warnings,omitempty" yaml:"warnings,omitempty"`
}

// Failure is why the daemon has not done what it was asked to. Nothing is
// changed then.
type Failure struct {
	Message string `json:"message" yaml:"message"`
	// Problems are of the configuration.
	Problems configschema.Problems `json:"problems,omitempty" yaml:"problems,omitempty"`
	// Busy says that it may be different later.
	Busy bool `json:"busy,omitempty" yaml:"busy,omitempty"`
}

func (f *Failure) Error() string { return f.Message }

// maxRequest is more than the largest user-data needs, in bytes.
const maxRequest = 16 << 20

// Machine is what can be asked to change.
type Machine interface {
	// Apply returns a *Failure where nothing was changed.
	Apply(ctx context.Context, r Request) (*Result, error)
	// Confirm keeps the configuration that is on trial.
	Confirm(ctx context.Context) error
}

// Routes answer for a machine.
func Routes(m Machine) []status.Route {
	return []status.Route{
		{Pattern: "POST /apply", Handler: func(w http.ResponseWriter, r *http.Request) {
			var request Request
			if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&request); err != nil {
				answer(w, nil, fmt.Errorf("read the request: %w", err))
				return
			}
			result, err := m.Apply(r.Context(), request)
			answer(w, result, err)
		}},
		{Pattern: "POST /confirm", Handler: func(w http.ResponseWriter, r *http.Request) {
			answer(w, &Result{}, m.Confirm(r.Context()))
		}},
	}
}

func answer(w http.ResponseWriter, result *Result, err error) {
	w.Header().Set("Content-Type", "application/json")
	var body any = result
	if err != nil {
		failure := &Failure{Message: err.Error()}
		_ = errors.As(err, &failure) // or else the message is all there is
		w.WriteHeader(http.StatusConflict)
		body = failure
	}
	// The client sees a cut connection; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// Apply asks the daemon that listens on socket. What it says no to comes as a
// *Failure.
func Apply(ctx context.Context, socket string, r Request) (*Result, error) {
	return ask(ctx, socket, "/apply", r)
}

// Confirm asks the daemon to keep the configuration that is on trial.
func Confirm(ctx context.Context, socket string) error {
	_, err := ask(ctx, socket, "/confirm", struct{}{})
	return err
}

func ask(ctx context.Context, socket, path string, body any) (*Result, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://skerry"+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	response, err := status.Client(socket).Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon on %s: %w; is skerry.service running, and are you root?", socket, err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if response.StatusCode != http.StatusOK {
		failure := new(Failure)
		if err := decoder.Decode(failure); err != nil || failure.Message == "" {
			return nil, fmt.Errorf("ask the daemon on %s: %s", socket, response.Status)
		}
		return nil, failure
	}
	result := new(Result)
	if err := decoder.Decode(result); err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return result, nil
}
