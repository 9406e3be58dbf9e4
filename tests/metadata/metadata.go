// SPDX-License-Identifier: Apache-2.0

// Package metadata has a metadata server for each cloud that Skerry knows, to
// test against. A server checks methods, headers and tokens as the real one
// does, and refuses with the codes that one has, so that a client which would
// fail in the cloud fails here. It knows one machine, and nothing of Skerry.
package metadata

import (
	"encoding/json"
	"net/http"
	"sync"
)

// Machine is what a metadata server knows of the machine that asks.
type Machine struct {
	InstanceID, Hostname string
	// Keys are lines of an authorized_keys file.
	Keys []string
	// UserData and VendorData are as the cloud's user wrote them; empty for none.
	UserData, VendorData string
	// Network is the network definition in the cloud's own format, for the
	// clouds that have one; empty for none. Where it is a part of a greater JSON
	// document, it is that part.
	Network string
}

// part is the network definition as a part of a document, or what stands there
// without one.
func (m *Machine) part(otherwise string) json.RawMessage {
	if m.Network == "" {
		return json.RawMessage(otherwise)
	}
	return json.RawMessage(m.Network)
}

// SlowStart is a server that is not up yet: it drops the first connections,
// then answers that it is not available, and then is what it is.
type SlowStart struct {
	Handler http.Handler
	// Drop is how many requests get no answer, Refuse how many are refused
	// after that, with Status or 503.
	Drop, Refuse, Status int

	mu   sync.Mutex
	seen int
}

// Again returns the server as it was before its first request.
func (s *SlowStart) Again() *SlowStart {
	handler := s.Handler
	if slow, ok := handler.(*SlowStart); ok {
		handler = slow.Again()
	}
	return &SlowStart{Handler: handler, Drop: s.Drop, Refuse: s.Refuse, Status: s.Status}
}

// ServeHTTP implements http.Handler.
func (s *SlowStart) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen++
	seen := s.seen
	s.mu.Unlock()
	switch {
	case seen <= s.Drop:
		panic(http.ErrAbortHandler) // closes the connection
	case seen <= s.Drop+s.Refuse && s.Status != 0:
		http.Error(w, http.StatusText(s.Status), s.Status)
	case seen <= s.Drop+s.Refuse:
		http.Error(w, "starting", http.StatusServiceUnavailable)
	default:
		s.Handler.ServeHTTP(w, r)
	}
}

// allowed answers a request with another method, and says whether to go on.
func allowed(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

// give answers with a text, or with 404 where there is none.
func give(w http.ResponseWriter, r *http.Request, text string) {
	if text == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(text)) // the client has gone: nobody to tell
}

func giveJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // as above
}

// Switch is a server that becomes another one while machines ask it.
type Switch struct {
	mu      sync.Mutex
	handler http.Handler
	seen    int
}

// Set makes it another server, and forgets what the last one was asked.
func (s *Switch) Set(handler http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler, s.seen = handler, 0
}

// Asked is how often the server has been asked since it is what it is.
func (s *Switch) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// ServeHTTP implements http.Handler.
func (s *Switch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	handler := s.handler
	s.seen++
	s.mu.Unlock()
	handler.ServeHTTP(w, r)
}

// Always answers every request with the same code.
func Always(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, http.StatusText(code), code)
	})
}
